"""May a trial go on? The rules `none` and `asha`, as a function of what has been recorded.

All scores here are oriented: higher is better. The scheduler and the simulator call the same code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.decide.states import TrialState


@dataclass(frozen=True)
class StoppingRule:
    """How trials are stopped early: the rule, its rungs in the study's unit, and 1/share that continues."""

    rule: Literal["none", "asha"]
    rungs: tuple[float, ...] = ()
    reduction: float = 3


@dataclass(frozen=True)
class RungReport:
    """A trial's score when it passed `rung` (in the study's unit; `length` is where it really stands)."""

    cell: str
    arm: str
    rung: float
    length: float
    score: float


@dataclass(frozen=True)
class Decision:
    """What was decided and everything that explains it.

    `state` is what the trial ends as (None when it continues); `cutoff` the lowest oriented score that
    continues; `rank` counts from 1 for the best; `peers` is the number of scores compared at the rung,
    this trial's included (0 when nothing was compared).
    """

    action: Literal["continue", "stop"]
    state: TrialState | None
    rule: str
    reason: str
    rung: float | None = None
    cutoff: float | None = None
    rank: int | None = None
    peers: int = 0


def decide(
    rule: StoppingRule, table: Mapping[float, Mapping[str, float]], report: RungReport, protected: bool
) -> Decision:
    """Decide on `report`, given `table`: rung -> {cell: oriented score} recorded before it.

    A score that is not finite stops every trial as *diverged*, whatever the rule. Under `asha` the best
    `ceil(n / reduction)` of the n scores at the rung, this one included, continue: the same trials as with
    the linearly interpolated quantile, but the cut-off is a score that somebody reached. Ties continue, the
    first to arrive continues, and a `protected` trial (the reference arm) is ranked but never stopped.
    """
    if not math.isfinite(report.score):
        reason = f"the metric is not finite at length {report.length:g}"
        return Decision("stop", TrialState.DIVERGED, rule.rule, reason, rung=report.rung)
    if rule.rule == "none":
        return Decision("continue", None, rule.rule, "no rule stops trials early", rung=report.rung)

    # a cell that comes back after a crash replaces its own score; diverged peers rank last
    others = [
        score if math.isfinite(score) else -math.inf
        for cell, score in table.get(report.rung, {}).items()
        if cell != report.cell
    ]
    scores = sorted([*others, report.score], reverse=True)
    peers = len(scores)
    kept = math.ceil(peers / rule.reduction - 1e-9)
    rank = 1 + sum(score > report.score for score in others)
    place = f"rank {rank} of {peers} at rung {report.rung:g}"
    stop = False
    if peers == 1:
        reason = f"first to reach rung {report.rung:g}"
    elif rank <= kept:
        reason = f"{place}, the best {kept} continue"
    elif protected:
        reason = f"{place}, but the reference arm is never stopped"
    else:
        reason, stop = f"{place}, only the best {kept} continue", True
    return Decision(
        action="stop" if stop else "continue",
        state=TrialState.STOPPED if stop else None,
        rule=rule.rule,
        reason=reason,
        rung=report.rung,
        cutoff=scores[kept - 1],
        rank=rank,
        peers=peers,
    )
