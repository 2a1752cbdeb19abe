"""Durations, numbers, lengths and states as people read them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.reporting.standing import GLYPHS
from orchestrator.study.changes import MISSING, lookup


def duration(seconds: float | None) -> str:
    """`45s`, `12m 05s`, `3h 20m`, `2d 04h`; a dash when unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


_UNITS = ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (48 * 3600.0, 3600.0, "h"), (math.inf, 86400.0, "days"))
_STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def between(low_s: float, high_s: float) -> str:
    """`about 40 min`, `25 to 40 min`, `50 min to 2 h`, `up to 3 h`: round numbers at or around both.

    A range that gets a little shorter reads the same.
    """
    (low, unit_low), (high, unit_high) = _rounded(low_s, math.floor), _rounded(high_s, math.ceil)
    if not low:
        return f"up to {high:g} {unit_high}"
    if (low, unit_low) == (high, unit_high):
        return f"about {low:g} {unit_low}"
    return f"{low:g}{'' if unit_low == unit_high else f' {unit_low}'} to {high:g} {unit_high}"


def _rounded(seconds: float, way: Callable[[float], int]) -> tuple[float, str]:
    """Return a round number and its unit, at or below (`math.floor`) or above (`math.ceil`) so many."""
    most, unit_s, unit = next(one for one in _UNITS if seconds < one[0] or one[0] == math.inf)
    value = min(max(seconds / unit_s, 0.0), 1e6)
    if value <= 1 and unit == "s":
        return float(way(value)), unit
    ten = 10.0 ** math.floor(math.log10(value))
    below = [step * ten for step in _STEPS if step * ten <= value * (1 + 1e-9)]
    above = [step * ten for step in _STEPS if step * ten >= value * (1 - 1e-9)]
    number = below[-1] if way is math.floor else above[0]
    if unit == "s":
        number = float(way(number))
    return (number, unit) if number * unit_s < most else _rounded(number * unit_s, way)


def number(value: float | None) -> str:
    """At most five significant digits; a dash when unknown."""
    return "–" if value is None else f"{value:.5g}"


def length(value: float | None, unit: str) -> str:
    """`8 epochs`, `1 epoch`, `90 seconds`."""
    if value is None:
        return "–"
    noun = unit.rstrip("s")
    return f"{number(value)} {noun if value == 1 else noun + 's'}"


def setting(value: Any) -> str:
    """Return a configured value as a study file would write it."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def difference(changes: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """`data.augment: true → false, optim.lr: 0.001 → 0.1`; `reference` is the nested config compared with."""
    parts = []
    for key, value in changes.items():
        old = lookup(reference, key)
        before = "" if old is MISSING else f"{setting(old)} → "
        parts.append(f"{key}: {before}{setting(value)}")
    return ", ".join(parts)


def legend(states: Iterable[str]) -> str:
    """Return the glyphs of these states, explained."""
    return "  ".join(f"{GLYPHS[state]} {state}" for state in GLYPHS if state in set(states))
