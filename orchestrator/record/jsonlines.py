"""Strict JSON for all that is recorded: non-finite numbers as strings, numpy scalars as numbers.

What is read may have been written by anybody: it is refused when it is too long, too deep or has too many
values, before it costs memory or time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pydantic_core

MOST_BYTES = 64 << 20
MOST_VALUES = 1_000_000
_DIGITS, _LONG = bytes.maketrans(b"123456789", b"0" * 9), b"0" * 19
_LONE = re.compile(rb"(\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w)|\\(u[dD][89a-fA-F]\w\w)")
_parse = partial(pydantic_core.from_json, cache_strings="all")
_MAY_BE_NOT_FINITE = (b'"nan"', b'inf"', b"\\u")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> bytes:
    """Strict JSON on one line; non-finite floats become the strings "nan", "inf" and "-inf"."""
    try:
        text = _encode(value)
    except ValueError:
        text = _encode(_without_nonfinite(value))
    return text.encode("utf-8", "backslashreplace")


def from_json(text: bytes | str) -> Any:
    """Read what `to_json` wrote; raises `ValueError`."""
    data = text if isinstance(text, bytes) else text.encode()
    found = parsed(data)
    return with_nonfinite(found) if any(word in data for word in _MAY_BE_NOT_FINITE) else found


def parsed(text: bytes) -> Any:
    """Read JSON of limited size, depth (200) and numbers (whole ones have 64 bits); raises `ValueError`.

    Half a surrogate pair, which no encoding has, is read as the escape that it is written with.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"longer than {MOST_BYTES >> 20} MiB")
    if len(text) > MOST_VALUES and sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    if b"\\u" in text:
        text = _LONE.sub(lambda match: match[1] or b"\\\\" + match[2], text)
    found = _parse(text)
    if _LONG in text.translate(_DIGITS):
        _refuse_long(found)
    return found


def _refuse_long(value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number of more than 64 bits")
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_long(item)


def _plain(value: Any) -> Any:
    """numpy and torch scalars, paths and enums in a form that JSON has."""
    if hasattr(value, "item") and getattr(value, "size", 1) in (1, ()):
        value = value.item()
        return repr(value) if isinstance(value, complex) else _without_nonfinite(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain).encode


def _without_nonfinite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))
    if isinstance(value, Mapping):
        return {key: _without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nonfinite(item) for item in value]
    return value


def with_nonfinite(value: Any) -> Any:
    """Plain data in which the strings "nan", "inf" and "-inf" are numbers again, at any depth."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: with_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_nonfinite(item) for item in value]
    return value
