"""Durations, numbers, lengths and states as people read them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
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
