"""What the list of studies and the page of one say alike: where a study stands, numbers, times."""

from __future__ import annotations

import time
from math import isfinite
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.record.journal import Line
from orchestrator.record.journalparts import newest_first
from orchestrator.reporting.numbers import DASH
from orchestrator.reporting.standing import GLYPHS, StudyStanding
from orchestrator.web.kept import KeptStudy

Drawn = dict[str, Any]
"""What a template draws, by name."""


def summary(kept: KeptStudy, found: StudyStanding) -> Drawn:
    """Return where a study stands.

    `share`: of the cells that are answered; `counts`: glyph, state, cells; `report`: whether it exists;
    `last`: the time of the last event, if it has one.
    """
    counts, recorded = found.counts(), kept.recorded
    answered = sum(number for state, number in counts.items() if TrialState(state).answered)
    last: Line | None = kept.once(
        "last", recorded, lambda: next(iter(newest_first(recorded.storage, recorded.journal)), None)
    )
    return {
        "found": found,
        "version": kept.version,
        "share": answered / max(1, len(found.cells)),
        "counts": [(GLYPHS[state], state, number) for state, number in counts.items()],
        "report": kept.run.storage.exists(kept.run.paths.report_html),
        "last": last.t if last is not None and isfinite(last.t) else None,
        "when": clock(last, DAY) if last is not None else "",
    }


DAY = "%Y-%m-%d %H:%M"
"""How a time is written that may be long ago."""


def clock(line: Line, form: str = "%H:%M:%S") -> str:
    """Return when a line was written, as a clock here shows it; empty where it does not say."""
    return moment(line.t, form) if line.t else ""


def moment(t: float, form: str = DAY) -> str:
    """Return a time in seconds since 1970; empty where it is none."""
    try:
        return time.strftime(form, time.localtime(t))
    except (ValueError, OverflowError):
        return ""


def number(value: float | None) -> str:
    """Return a number with five digits; a dash where there is none."""
    return DASH if value is None else f"{value:.5g}".replace("-", "−")


def interval(lo: float | None, hi: float | None) -> str:
    """Return `[−2.4, −1.2]`; a dash where one end is missing."""
    return DASH if lo is None or hi is None else f"[{number(lo)}, {number(hi)}]"
