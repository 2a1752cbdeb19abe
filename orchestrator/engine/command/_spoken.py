"""Lines as rows of values: JSON objects, dicts as Python prints them, CSV, and patterns with named groups."""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Row = dict[str, Any]
MOST_VALUES, MOST_NAME, MOST_WORDS, MOST_DEPTH = 1000, 200, 1000, 8
"""What is taken over of a line that was not written for us: values, characters of names and texts, levels."""
MOST_PRINTED = 1 << 16
"""Characters of a printed dict: reading Python costs more than reading JSON."""
_SCALARS = re.compile(r"(\w+\.)*(float|int|uint|bool)\w*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_WORDS = {"nan": math.nan, "inf": math.inf, "NaN": math.nan, "Infinity": math.inf}


_PLACES = ("epoch", "step")


class Speech(Protocol):
    """How a line is understood."""

    def row(self, line: str) -> Row | None:
        """Return the values of a line, None of one that has none."""
        ...


class Objects:
    """A JSON object, or a dict as `print` shows it, at the end of a line."""

    def row(self, line: str) -> Row | None:
        text = _bare(line).strip()
        start = text.find("{")
        if start < 0 or not text.endswith("}"):
            return None
        text = text[start:]
        found = _of_json(text)
        if found is None:
            found = _of_python(text)
        return None if found is None else plain(found)


class NamedGroups:
    """The named groups of patterns; the values of all that match a line are one row."""

    def __init__(self, patterns: Sequence[str], metric: str) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._names = {re.sub(r"\W", "_", metric): metric}

    def row(self, line: str) -> Row | None:
        text = _bare(line)
        found: Row = {}
        for pattern in self._patterns:
            if match := pattern.search(text[:10_000]):
                for name, value in match.groupdict().items():
                    if value is not None:
                        found[self._names.get(name, name)] = number(value.strip().rstrip(",;%"))
        return found or None


class CsvRows:
    """CSV: a first line of names, then values; an empty cell is no value."""

    def __init__(self, delimiter: str | None = None) -> None:
        self._delimiter, self._names = delimiter, list[str]()

    def row(self, line: str) -> Row | None:
        if not line.strip():
            return None
        if self._delimiter is None:
            self._delimiter = max(",;\t", key=line.count)
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=self._delimiter), [])]
        if not self._names or self._are_names(cells):
            self._names = [cell.lstrip("\ufeff") for cell in cells]
            return None
        pairs = zip(self._names, cells, strict=False)
        return {name: number(cell) for name, cell in pairs if name and cell and len(name) <= MOST_NAME}

    def _are_names(self, cells: list[str]) -> bool:
        """Whether a further line is one of names: of a file that was begun again, or has new columns."""
        known = set(self._names) & set(cells)
        return bool(known) and 2 * len(known) >= len(cells) and all(isinstance(number(c), str) for c in cells)


def _bare(line: str) -> str:
    """Return what is seen of a line: a progress bar goes back to its beginning, and colours are no text."""
    text = line.rstrip("\r\n").rpartition("\r")[2]
    return _COLOUR.sub("", text) if "\x1b" in text else text


def number(text: str) -> Any:
    """Return the number that a text says, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text[:MOST_WORDS]


def patterns_of(line: str, metric: str) -> tuple[str, ...]:
    """Return patterns by which `NamedGroups` reads the metric, and its place, out of a line like this one.

    None where the metric's name and a number behind it are not there.
    """
    text = _bare(line)[:1000]
    if (first := _before_number(text, metric)) is None:
        return ()
    found = [(re.sub(r"\W", "_", metric), first), *((name, _before_number(text, name)) for name in _PLACES)]
    return tuple(rf"{words}(?P<{group}>[-+.\w]+)" for group, words in found if words)


def _before_number(line: str, name: str) -> str | None:
    """Return a pattern for what stands before the number that a name has in a line; None: it has none."""
    words = r"[\W_]".join(map(re.escape, re.split(r"[\W_]+", name)))
    match = re.search(rf"(?<![\w/.])({words})[\s:=]+[-+]?\.?\d", line, re.IGNORECASE)
    if match is None:
        return None
    return rf"\b{re.escape(match[1])}[\s:=]+".replace("\\ ", " ")


def plain(found: Mapping[Any, Any]) -> Row:
    """Return one level of numbers and texts, the names of nested ones joined by `/`; lists are left out."""
    row: Row = {}
    _flatten(found, "", row, 0)
    return row


def _flatten(found: Mapping[Any, Any], prefix: str, row: Row, depth: int) -> None:
    for key, value in found.items():
        name = f"{prefix}{key}"
        if len(row) >= MOST_VALUES or len(name) > MOST_NAME:
            continue
        if isinstance(value, Mapping) and depth < MOST_DEPTH:
            _flatten(value, f"{name}/", row, depth + 1)
        elif isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
            row[name] = value
        elif isinstance(value, str):
            row[name] = value[:MOST_WORDS]


def _of_json(text: str) -> Mapping[Any, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _of_python(text: str) -> Mapping[Any, Any] | None:
    """Return a dict that was printed; some print their numbers in quotes, `{'loss': '0.25'}`."""
    if len(text) > MOST_PRINTED:
        return None
    try:
        found = _printed(ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
    if not isinstance(found, Mapping):
        return None
    return {key: number(value) if isinstance(value, str) else value for key, value in found.items()}


def _printed(node: ast.expr) -> Any:
    """Return what Python's `repr` shows: plain values, `nan`, and numpy's `np.float64(0.5)`."""
    match node:
        case ast.Dict(keys=keys, values=values):
            return {_printed(key): _printed(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_printed(item) for item in items]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _printed(operand)
            return -value if isinstance(sign, ast.USub) else value
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
        case ast.Call(func=func, args=[one], keywords=[]) if _SCALARS.fullmatch(ast.unparse(func)):
            return _printed(one)
        case ast.Constant(value=value):
            return value
    return None  # an object: it is no number
