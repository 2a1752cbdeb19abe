"""Rules that stop trials at rungs, on curves that exist already: decided by the code that the engine asks.

Arrival order: cells start in their order on a fixed number of lanes, each takes the time that its curve says,
and a lane that becomes free takes the next cell at once. Reports at the same moment arrive in the order of
the cells.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.decide.rungs import RungReport, RungRule, decide
from orchestrator.decide.states import TrialState


class Point(NamedTuple):
    """A report at a rung: `length` in the rungs' unit, `time` since the start in any unit, oriented score."""

    rung: float
    length: float
    time: float
    score: float


@dataclass(frozen=True)
class SimulatedCurve:
    """One run at full length: its reports at rungs, ascending, then `length` and `time` of the whole run."""

    cell: str
    arm: str
    points: Sequence[Point]
    length: float
    time: float
    protected: bool = False


@dataclass(frozen=True)
class Ending:
    """Where a run ended under the rule: reports that were used, length trained, its state."""

    reports: int
    length: float
    state: TrialState


def replay(curves: Sequence[SimulatedCurve], rule: RungRule, lanes: int) -> list[Ending]:
    """Run all curves through the rule; endings in their order. Raises `ValueError` without a lane."""
    if lanes < 1:
        raise ValueError(f"at least one lane is needed, got {lanes}")
    endings: dict[int, Ending] = {}
    table: dict[float, dict[str, float]] = {}
    waiting = iter(enumerate(curves))
    arrivals: list[
        tuple[float, int, int, float]
    ] = []  # time, curve, reports before this one, time of the start

    def start(now: float) -> None:
        number, curve = next(waiting, (None, None))
        if number is not None and curve is not None:
            heapq.heappush(arrivals, (now + _time(curve, 0), number, 0, now))

    for _ in range(lanes):
        start(0.0)
    while arrivals:
        now, number, before, started = heapq.heappop(arrivals)
        curve = curves[number]
        if before == len(curve.points):
            endings[number] = Ending(before, curve.length, TrialState.DONE)
            start(now)
            continue
        point = curve.points[before]
        report = RungReport(curve.cell, curve.arm, point.rung, point.length, point.score)
        found = decide(rule, table, report, curve.protected)
        table.setdefault(point.rung, {})[curve.cell] = point.score
        if found.state is not None:
            endings[number] = Ending(before + 1, point.length, found.state)
            start(now)
        else:
            heapq.heappush(arrivals, (started + _time(curve, before + 1), number, before + 1, started))
    return [endings[number] for number in range(len(curves))]


def _time(curve: SimulatedCurve, report: int) -> float:
    return curve.points[report].time if report < len(curve.points) else curve.time


def matched(
    scores: NDArray[np.float64], last: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Differences to the reference, each arm's at its matched rung: the highest with two pairs at least.

    Args:
        scores: (1 + arms, seeds >= 2, rungs), the end as the last rung; row 0 is the reference.
        last: (1 + arms, seeds), index of the highest rung that each run has passed; −1 where it passed none.

    Returns:
        D (arms, seeds), NaN where the seed has no pair at the rung, and the rung's index per arm (−1 for
        none).
    """
    common = np.minimum(last[1:], last[0])
    rungs = np.sort(common, axis=1)[:, -2]
    seeds, arms = np.arange(common.shape[1]), np.arange(1, len(scores))[:, None]
    D = scores[arms, seeds, rungs[:, None]] - scores[0, seeds, rungs[:, None]]  # noqa: N806 - see above
    there = (common >= rungs[:, None]) & (rungs[:, None] >= 0)
    return np.where(there, D, np.nan), rungs
