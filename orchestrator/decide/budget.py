"""Budgets of a study, and how long a trial may be silent."""

from __future__ import annotations

from typing import Literal

from orchestrator.study.spec import BudgetSpec

_SHORTEST_TIMEOUT_S = 1800.0
_INTERVALS = 5


def budget_reached(budget: BudgetSpec, wall_s: float, gpu_s: float) -> str | None:
    """Return which limits were spent (wall seconds of the study, GPU seconds of all trials), or None."""
    reached = []
    if budget.wall_s is not None and wall_s >= budget.wall_s:
        reached.append(f"wall time {wall_s:.0f} s of {budget.wall_s:g} s")
    if budget.gpu_hours is not None and gpu_s >= 3600 * budget.gpu_hours:
        reached.append(f"{gpu_s / 3600:.3g} of {budget.gpu_hours:g} GPU-hours")
    return f"budget reached: {', '.join(reached)}" if reached else None


def report_timeout(setting: float | Literal["auto"], longest_interval_s: float | None) -> float:
    """Seconds without a report after which a trial counts as hung.

    `auto` is at least half an hour and five times the longest interval seen so far (None: none yet). The
    clock starts with a trial's first report, or when another rank waits there for rank 0: before it there is
    no limit.
    """
    if setting == "auto":
        return max(_SHORTEST_TIMEOUT_S, _INTERVALS * (longest_interval_s or 0.0))
    return float(setting)
