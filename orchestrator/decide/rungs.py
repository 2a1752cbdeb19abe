"""Rungs: the lengths at which a trial is compared with others, and what is decided there.

All scores here are oriented: higher is better. The scheduler and the simulator call the same code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.decide.states import TrialState

_KEPT = 5
Scores = Mapping[float, Mapping[str, float]]
"""Rung -> {cell: oriented score} of those that have passed it."""


def rungs(grace: float, reduction: float, maximum: float) -> tuple[float, ...]:
    """`grace · reduction^i` below `maximum`, ascending, in the study's unit; whole numbers stay `int`.

    Empty when `grace` reaches `maximum`. Raises `ValueError` unless `grace > 0` and `reduction > 1`.
    """
    if not grace > 0 or not reduction > 1:
        raise ValueError(f"rungs need grace > 0 and reduction > 1, got {grace} and {reduction}")
    found: list[float] = []
    rung = grace
    while rung < maximum:
        found.append(int(rung) if float(rung).is_integer() else rung)
        rung = grace * reduction ** len(found)
    return tuple(found)


def curve_rungs(grace: float, reduction: float, maximum: float) -> tuple[float, ...]:
    """Return the rungs below `maximum` whose values are kept of every trial: at most the last five."""
    return rungs(grace, reduction, maximum)[-_KEPT:] if grace < maximum else ()


class Passed:
    """What a trial would have counted with, had it ended at each of these rungs; None where nobody knows."""

    def __init__(self, rungs: tuple[float, ...]) -> None:
        self.values: dict[float, float | None] = dict.fromkeys(rungs)
        self._above: float | None = None

    def take(self, length: float, value: float | None) -> None:
        """Take a report, in order: it tells about the highest rung that it is the first to pass."""
        rung = highest_rung(self.values, length, self._above)
        if rung is not None and value is not None:
            self._above, self.values[rung] = rung, value


def highest_rung(rungs: Iterable[float], length: float, above: float | None = None) -> float | None:
    """Return the highest rung at or below `length` and beyond `above`; None when no new rung was reached.

    A trial that reports rarely may pass several rungs at once: it counts at the highest of them.
    """
    reached = [rung for rung in rungs if rung <= length and (above is None or rung > above)]
    return max(reached, default=None)


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

    @classmethod
    def goes_on(cls, rule: str, report: RungReport, reason: str) -> Decision:
        """Let the trial continue without having compared it."""
        return cls("continue", None, rule, reason, rung=report.rung)


class RungRule(ABC):
    """What decides at rungs. `rule`: the stopping rule's name; `rungs`: ascending, in the study's unit."""

    rule: str
    rungs: tuple[float, ...]

    @abstractmethod
    def judge(self, report: RungReport, table: Scores, protected: bool) -> Decision:
        """Decide on a report with a finite score.

        Args:
            table: what was recorded before it, in its group; diverged trials with scores that are not finite.
            protected: the reference arm: it may be ranked, and is never stopped.
        """


@dataclass(frozen=True)
class Alone(RungRule):
    """Nobody competes, and no rung is anything to a trial."""

    rule: str = "none"
    rungs: tuple[float, ...] = ()

    def judge(self, report: RungReport, table: Scores, protected: bool) -> Decision:
        return Decision.goes_on(self.rule, report, "no rule stops trials early")


def decide(rule: RungRule, table: Scores, report: RungReport, protected: bool) -> Decision:
    """Decide on `report`, given `table`, the scores recorded before it.

    A score that is not finite stops every trial as *diverged*, whatever the rule.
    """
    if not math.isfinite(report.score):
        reason = f"the metric is not finite at length {report.length:g}"
        return Decision("stop", TrialState.DIVERGED, rule.rule, reason, rung=report.rung)
    return rule.judge(report, table, protected)


def others_at(table: Scores, report: RungReport) -> list[float]:
    """Return the scores at the report's rung that it is compared with; diverged peers rank last.

    A cell that comes back after a crash replaces its own score.
    """
    return [
        score if math.isfinite(score) else -math.inf
        for cell, score in table.get(report.rung, {}).items()
        if cell != report.cell
    ]
