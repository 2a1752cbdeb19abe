"""What user code says, made plain: reports and errors as data that every reader, table and page can hold.

What a trial reports or raises goes on to threads, another process, JSON, Parquet, a terminal and a page.
Here, on the worker, it becomes numbers, texts without control characters, and lists of them, all of a bounded
size; what cannot become that is refused by name, as the trial's own failure.
"""

from __future__ import annotations

import datetime
import math
import traceback
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from pathlib import PurePath
from typing import Any
from uuid import UUID

from orchestrator.study.visible import visible

RESERVED = ("report", "time_s", "attempt")
"""Columns of `metrics.parquet` that the record fills in itself."""
COUNTED = ("epoch", "step")
"""Columns that stand for what a report gives under their names."""
MOST_TEXT, MOST_KEY, MOST_DEPTH = 10_000, 200, 16
MOST_REPORTED = 1 << 20
"""What one report may hold: 8 for each value, and the characters of its texts and names."""
MOST_MESSAGE, MOST_TRACE = 2_000, 20_000
_STANDS_FOR: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (float, float.__float__),
    (str, str.__str__),
    ((Decimal, Fraction), float),
    ((PurePath, datetime.date, datetime.time, datetime.timedelta, UUID), str),
)
_LISTS = (list, tuple, set, frozenset)
_PLAIN = frozenset({float, int, bool, str, type(None)})


class ReportRefused(ValueError):
    """A report, or a value of one, that cannot be taken; says which, why, and what to report instead."""


def bounded(text: str, most: int = MOST_MESSAGE) -> str:
    """Return a text that can be shown and encoded anywhere: its beginning and its end where it is longer."""
    if len(text) > most:
        tail = most // 4
        left_out = f" … ({len(text) - most:,} of {len(text):,} characters left out) … "
        text = text[: most - tail] + left_out + text[-tail:]
    return visible(text)


def described(error: BaseException) -> tuple[str, str]:
    """Return what an exception says, its type in front, and its traceback, both bounded."""
    kind = type(error)
    own = kind.__module__ == "builtins" or kind.__module__.startswith("orchestrator.")
    name = kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = str(error)
        notes = [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)]
        message = "\n".join([f"{name}: {text}" if text else name, *notes[:20]]).strip()
    except BaseException:  # an `__str__` of the user's
        message = f"{name}: (what it says cannot be read, its __str__ fails)"
    try:
        trace = "".join(traceback.format_exception(kind, error, error.__traceback__, limit=-20))
    except Exception:
        trace = "".join(traceback.format_tb(error.__traceback__, limit=-20)) + message
    return bounded(message), bounded(trace, MOST_TRACE)


def type_name(value: object) -> str:
    """Return `a float`, `an ndarray of shape (2, 3)`, `a Stats (of trial)`."""
    kind = type(value)
    name, module = bounded(kind.__qualname__, MOST_KEY), bounded(str(kind.__module__), MOST_KEY)
    shape = getattr(value, "shape", None) if module.partition(".")[0] in ("numpy", "torch", "jax") else None
    text = f"{'an' if name[:1].lower() in 'aeiou' or name == 'ndarray' else 'a'} {name}"
    if isinstance(shape, tuple):
        return f"{text} of shape {tuple(shape)}"
    return text if module == "builtins" else f"{text} (of {module})"


def plain_report(metrics: Any, where: str, metric: str, unit: str) -> dict[str, Any]:
    """Return a report as one level of plain values, the names of nested ones joined by `/`.

    Args:
        where: the report, in words: `report 3`.
        metric: what the study compares: a number, or not there.
        unit: of lengths in the study.

    Raises:
        ReportRefused: what it holds cannot be taken.
    """
    row: dict[str, Any] = {}
    if not isinstance(metrics, Mapping):
        raise ReportRefused(f"{where} is {type_name(metrics)}; report a dict of names and numbers")
    try:
        _Taking(row).take(metrics, "", 0)
    except _Not as error:
        raise ReportRefused(f"{where}: {error}") from None
    except Exception as error:  # methods of the user's own objects
        raise ReportRefused(
            f"{where} cannot be read: {described(error)[0]}; report plain numbers and texts"
        ) from error
    if unit in COUNTED and row.get(unit) is None:
        raise ReportRefused(
            f"{where} has no number under {unit!r}, but the study counts its length in {unit}s "
            f"(stopping.unit). Report {{{unit!r}: ...}} too, or set stopping.unit to 'report'. "
            f"Reported keys: {sorted(row)[:20]}"
        )
    for name in (metric, *COUNTED):
        value = row.get(name)
        _check_number(metrics.get(name, value), value, name, where)
    return row


def _check_number(raw: Any, value: Any, name: str, where: str) -> None:
    if value is None:
        return
    if type(value) not in (int, float):
        short = type(value) in (str, bool) and len(str(value)) < 40
        what = f"the text {value!r}" if short and type(value) is str else type_name(raw)
        advice = f"float({name.rpartition('/')[2]})" if short else "one plain number, such as x.item()"
        fault = f"is {what}, but it has to be a number; report {advice}"
    elif name in COUNTED and not (abs(value) < 2**63):
        fault = f"is {value}, which is no place in a training; count from 0 or 1"
    elif name == "step" and value < 0:
        fault = f"is {value}; count steps from 0 or 1"
    else:
        return
    raise ReportRefused(f"{where}: {name!r} {fault}")


class _Not(Exception):
    """A value cannot be taken."""


class _Taking:
    """Takes one report into `row`, as long as there is room."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row, self._room = row, MOST_REPORTED

    def take(self, metrics: Mapping[Any, Any], prefix: str, depth: int) -> None:
        for key, value in metrics.items():
            name = prefix + _name(key)
            if len(name) > MOST_KEY:
                raise _Not(f"the name {name[:40]!r}… has {len(name):,} characters; {MOST_KEY} are the most")
            if type(value) not in _PLAIN and isinstance(value, Mapping):
                _deeper(depth, name)
                self.take(value, f"{name}/", depth + 1)
                continue
            if name in RESERVED:
                raise _Not(
                    f"{name!r} is a column that the record fills in itself; report it as 'my_{name}', say"
                )
            if name in self._row:
                raise _Not(f"two values are named {name!r}; give each a name of its own")
            self._row[name] = self._plain(value, name, 0)

    def _plain(self, value: Any, name: str, depth: int) -> Any:
        _deeper(depth, name)
        self._spend(8, name)
        kind = type(value)
        if kind in _PLAIN and kind is not str:  # nearly every value there is
            return _fitting(value, name) if kind is int else value
        found = self._one(value, name)
        if isinstance(found, str):
            found = bounded(found, MOST_TEXT)
            self._spend(len(found), name)
        elif isinstance(found, _LISTS):
            return [self._plain(item, name, depth + 1) for item in found]
        elif isinstance(found, Mapping):
            return {_name(key): self._plain(item, name, depth + 1) for key, item in found.items()}
        elif found is not None and type(found) not in (int, float, bool):
            return self._plain(found, name, depth + 1)
        return found

    def _spend(self, room: int, name: str) -> None:
        self._room -= room
        if self._room < 0:
            raise _Not(
                f"with {name!r} it is larger than {MOST_REPORTED >> 20} MiB; keep such data in a checkpoint"
            )

    def _one(self, value: Any, name: str) -> Any:
        """Return the value in a type of Python's own, or what stands for it."""
        kind = type(value)
        if value is None or kind in (float, bool) or isinstance(value, (*_LISTS, Mapping)):
            return value
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, int):
            return _fitting(int.__index__(value), name)
        for base, plain in _STANDS_FOR:
            if isinstance(value, base):
                return plain(value)
        if kind.__module__.partition(".")[0] == "torch":
            raise _Not(f"metric {name!r} is a torch tensor; report .item() or a plain number instead")
        if hasattr(value, "tolist") and hasattr(value, "shape"):  # of numpy, or like it
            self._spend(8 * math.prod(value.shape), name)
            found = value.item() if value.shape == () else value.tolist()
            if type(found) is not kind:
                return found
            if hasattr(found, "__float__"):  # numpy's long double
                return float(found)
        raise _Not(
            f"{name!r} is {type_name(value)}; report numbers, texts, or lists of them "
            "(of an object, what is in it: dataclasses.asdict, vars, float)"
        )


def _deeper(depth: int, name: str) -> None:
    if depth >= MOST_DEPTH:
        raise _Not(f"{name!r} is nested deeper than {MOST_DEPTH} levels, or holds itself")


def _fitting(value: int, name: str) -> int | float:
    """Return a whole number as the tables hold it: of 64 bits, or else as a float."""
    if -(2**63) <= value < 2**63:
        return value
    try:
        return float(value)
    except OverflowError:
        digits = int(value.bit_length() * math.log10(2)) + 1
        raise _Not(
            f"{name!r} is a whole number of about {digits:,} digits, larger than any float; "
            "report its logarithm, or a text"
        ) from None


def _name(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if type(key) is str:
        return _shown(key[: 2 * MOST_KEY])
    if isinstance(key, str):
        text = str.__str__(key)
    elif key is None or type(key) in (int, float, bool):
        text = str(key)
    else:
        raise _Not(f"a key is {type_name(key)}; names of metrics are texts")
    return _shown(text[: 2 * MOST_KEY])


@lru_cache(maxsize=1024)  # a trial reports the same names again and again
def _shown(text: str) -> str:
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def differences(changes: Mapping[str, Any]) -> str:
    """Return what an arm changes as a table in Markdown."""
    if not changes:
        return "the reference arm: no change"
    rows = (f"| `{key}` | `{value}` |" for key, value in changes.items())
    return "\n".join(["| key | value |", "| --- | --- |", *rows])
