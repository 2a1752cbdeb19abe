"""How figures look, on paper and on the page: colours that colour-blind readers tell apart, and labels."""

from __future__ import annotations

from orchestrator.decide.states import TrialState
from orchestrator.stats.results import (
    EQUIVALENT,
    FAILS,
    HELPS,
    HURTS,
    INTERACTS,
    RUNG_ONLY,
    SIZE_UNCLEAR,
    Effect,
)

INK, QUIET, AXIS, GRID, FAINT, CARD = "#22262c", "#4a505a", "#9aa0a8", "#e4e7eb", "#c3c8cf", "#ffffff"
"""Of text, axes and background; the page has its own for light and dark, by these names."""
ON_LIGHT, ON_DARK = "#22262d", "#fffffe"
"""Of text on colours, which are the same on a dark page."""
NEUTRAL = "#7a7f87"
VERDICTS = {
    HURTS: "#c8501e",
    FAILS: "#c8501e",
    HELPS: "#0f74b3",
    EQUIVALENT: "#0a8f6c",
    INTERACTS: "#9a5b98",
    SIZE_UNCLEAR: "#b07b10",
}
"""Verdicts that claim something; the others are `NEUTRAL`."""
STATES = {
    TrialState.DONE: "#4c86b8",
    TrialState.STOPPED: "#e0a030",
    TrialState.DIVERGED: "#b36aa8",
    TrialState.FAILED: "#c8501e",
    TrialState.CANCELLED: "#8d8d8d",
    TrialState.RUNNING: "#63b99c",
    TrialState.PENDING: "#c9ccd1",
    TrialState.SKIPPED: "#dfe3e8",
}
SERIES = (
    "#0f74b3",
    "#c8501e",
    "#0a8f6c",
    "#9a5b98",
    "#b07b10",
    "#45a6d8",
    "#7d6a55",
    "#d1719b",
    "#5c7a29",
    "#83838f",
)
"""Colours of arms and seeds, in order; they repeat."""


def colour(effect: Effect) -> str:
    """Return the colour of an effect's verdict."""
    return VERDICTS.get(effect.verdict, NEUTRAL)


def series(index: int) -> str:
    """Return the colour of the arm or seed with this position."""
    return SERIES[index % len(SERIES)]


def hollow(effect: Effect) -> bool:
    """Rung-only effects are drawn as hollow markers: they claim nothing at full length."""
    return effect.verdict == RUNG_ONLY


def short(name: str, limit: int = 34) -> str:
    """Return a name that fits beside a figure: long ones lose their middle, which says least."""
    name = "".join(filter(str.isprintable, name))
    if len(name) <= limit:
        return name
    tail = limit // 2 - 1
    return f"{name[: limit - tail - 1]}…{name[-tail:]}"


def label(effect: Effect, called: str, limit: int = 34) -> str:
    """How a figure names an effect: an interaction is no arm, `no-a × no-b`."""
    return short(called.replace("+", " × ") if effect.kind == "interaction" else called, limit)
