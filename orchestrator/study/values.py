"""Value types that the study file shares: durations, numbers that may be `auto`, names of directories."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?\Z")
MAX_NAME = 64
MAX_LABEL = 80  # it stands in tables
MAX_SEEDS = 10_000
MAX_SEED = 2**32 - 1  # what numpy accepts


def name_fault(name: object) -> str | None:
    """Why `name` cannot name a directory, or None when it can."""
    if not isinstance(name, str):
        return "must be a word"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters, too long for the name of a directory"
    if not _NAME.match(name):
        return "cannot name a directory: use letters, digits, '-', '_', '.', beginning with a letter or digit"
    return None


def is_number(value: object) -> bool:
    """Return a finite number that a float can hold; booleans are none."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # NaN compares false
    )


def _check_name(value: Any) -> Any:
    fault = name_fault(value)
    if fault:
        raise ValueError(fault)
    return value


def _check_label(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_LABEL or not value.isprintable():
        raise ValueError(f"must be text of one line, at most {MAX_LABEL} characters")
    return value.strip()


def _parse_seconds(value: Any) -> Any:
    """`7200`, `"2h"`, `"90m"`, `"1h30m"` in seconds; raises ValueError otherwise."""
    if is_number(value) and 0 < value < 1e12:
        return float(value)
    if isinstance(value, str) and len(value) < 40:
        parts = _DURATION.findall(value.strip())
        if parts and not _DURATION.sub("", value).strip():
            seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
            if 0 < seconds < 1e12:
                return seconds
    raise ValueError("must be a positive duration such as 2h, 90m, 1h30m, 45s, or a number of seconds")


def _parse_number(value: Any) -> Any:
    """Whole numbers stay or become int, so that 20 and 20.0 are one setting."""
    if not is_number(value):
        raise ValueError("must be a number")
    return int(value) if float(value).is_integer() else value


def _or_auto(parse: Callable[[Any], Any]) -> BeforeValidator:
    """Take the word `auto`, or what `parse` takes."""

    def parsed(value: Any) -> Any:
        try:
            return value if value == "auto" else parse(value)
        except ValueError as error:
            raise ValueError(f"{error}, or auto") from None

    return BeforeValidator(parsed)


def _count(value: Any) -> Any:
    if type(value) is int and value >= 1:
        return value
    raise ValueError("must be a whole number from 1")


def _share(value: Any) -> Any:
    if not is_number(value) or value < 0:
        raise ValueError("must be a number from 0")
    if value > 1 and not float(value).is_integer():
        raise ValueError("must be a whole number, a share of one GPU below 1")
    return float(value)


def _check_seeds(value: Any) -> Any:
    """Take a number n as 0..n-1, and a list as it is."""
    if type(value) is int:
        if not 1 <= value <= MAX_SEEDS:
            raise ValueError(f"must be a number of seeds from 1 to {MAX_SEEDS:,}, or a list of seeds")
        return tuple(range(value))
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a number of seeds, or a list such as [0, 1, 2]")
    if not value:
        raise ValueError("is empty: at least one seed is needed")
    if len(value) > MAX_SEEDS:
        raise ValueError(f"lists more than {MAX_SEEDS:,} seeds")
    wrong = [seed for seed in value if type(seed) is not int or not 0 <= seed <= MAX_SEED]
    if wrong:
        raise ValueError(f"a seed is a whole number from 0 to {MAX_SEED}, not {str(wrong[0])[:40]!r}")
    if len(set(value)) < len(value):
        twice = sorted(seed for seed, count in Counter(value).items() if count > 1)
        raise ValueError(f"names a seed twice: {', '.join(map(str, twice[:5]))}")
    return tuple(value)


def _positive(value: Any) -> Any:
    if is_number(value) and value > 0:
        return value
    raise ValueError("must be a positive number")


def _auto_or_looks(value: Any) -> Any:
    """Ascending numbers of seeds, each at least two."""
    if value == "auto":
        return value
    counts = isinstance(value, (list, tuple)) and all(type(n) is int and n >= 2 for n in value)
    if not counts or not value or list(value) != sorted(set(value)):
        raise ValueError("must be auto, or ascending numbers of seeds from 2, such as [3, 4, 5]")
    return tuple(value)


def _groups(value: Any) -> Any:
    """Which names make sense is for `combining_problems` to say, entry by entry."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list of lists of component names, such as [[batchnorm, mixup]]")
    for group in value:
        if not isinstance(group, (list, tuple)) or not all(isinstance(name, str) for name in group):
            raise ValueError("each entry is a list of component names, such as [batchnorm, mixup]")
    return tuple(tuple(group) for group in value)


def _interactions(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return _groups(value)
    if value not in ("none", "auto"):
        raise ValueError("must be none, auto, or a list of pairs, such as [[batchnorm, mixup]]")
    return value


_AUTO = {"const": "auto"}
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_DURATIONS = (_POSITIVE, {"type": "string", "pattern": "^[0-9. dhmins]+$"})
_GROUP = {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True}
_PAIRS = {"type": "array", "items": {**_GROUP, "maxItems": 2}}


def _some(kind: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": kind, "minItems": 1}


def _either(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(schemas)})


Name = Annotated[
    str,
    BeforeValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern[:-2]}$"}),
]
Label = Annotated[
    str,
    BeforeValidator(_check_label),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_LABEL}),
]
Number = Annotated[int | float, BeforeValidator(_parse_number), WithJsonSchema({"type": "number"})]
PositiveNumber = Annotated[Number, Field(gt=0), WithJsonSchema(_POSITIVE)]
Seconds = Annotated[float, BeforeValidator(_parse_seconds), _either(*_DURATIONS)]
AutoSeconds = Annotated[float | Literal["auto"], _or_auto(_parse_seconds), _either(_AUTO, *_DURATIONS)]
AutoCount = Annotated[
    int | Literal["auto"], _or_auto(_count), _either(_AUTO, {"type": "integer", "minimum": 1})
]
AutoShare = Annotated[
    float | Literal["auto"], _or_auto(_share), _either(_AUTO, {"type": "number", "minimum": 0})
]
AutoNumber = Annotated[int | float | Literal["auto"], _or_auto(_positive), _either(_AUTO, _POSITIVE)]
AutoLooks = Annotated[
    tuple[int, ...] | Literal["auto"],
    BeforeValidator(_auto_or_looks),
    _either(_AUTO, _some({"type": "integer", "minimum": 2})),
]
Seeds = Annotated[
    tuple[int, ...],
    BeforeValidator(_check_seeds),
    _either(
        {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS},
        _some({"type": "integer", "minimum": 0, "maximum": MAX_SEED}) | {"uniqueItems": True},
    ),
]
Groups = Annotated[
    tuple[tuple[str, ...], ...],
    BeforeValidator(_groups),
    WithJsonSchema({"type": "array", "items": _GROUP}),
]
Interactions = Annotated[
    tuple[tuple[str, ...], ...] | Literal["none", "auto"],
    BeforeValidator(_interactions),
    _either({"enum": ["none", "auto"]}, _PAIRS),
]
