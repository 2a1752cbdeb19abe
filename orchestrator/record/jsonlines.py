"""Strict JSON for all that is recorded: non-finite numbers as strings, numpy scalars as numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(value: Any) -> bytes:
    """Strict JSON on one line; non-finite floats become the strings "nan", "inf" and "-inf"."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except ValueError:
        finite = _without_nonfinite(value)
        text = json.dumps(finite, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return text.encode("utf-8", "backslashreplace")


def from_json(line: bytes | str) -> Any:
    """Read what `to_json` wrote; raises `ValueError`."""
    return with_nonfinite(json.loads(line))


def _plain(value: Any) -> Any:
    """numpy and torch scalars, paths and enums in a form that JSON has."""
    if hasattr(value, "item") and getattr(value, "size", 1) in (1, ()):
        value = value.item()
        return repr(value) if isinstance(value, complex) else _without_nonfinite(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


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
