"""How long a study still takes: a range, out of what its trials have taken and of how they have ended."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from orchestrator.decide.states import TrialState

_KNOWN_AT = 0.5
"""Full trials that must have been measured, in parts of any of them."""
_GUESSED = 0.5
"""Relative spread that one trial more would have shown: with few of them nobody knows better."""
_WIDEST = 10.0
_MEASURED = (TrialState.RUNNING, TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED)


class Timed(Protocol):
    """What is known of a trial, such as a `TrialRecord`; of one that runs as far as it is."""

    @property
    def state(self) -> TrialState: ...

    @property
    def length(self) -> float | None: ...

    @property
    def wall_s(self) -> float: ...

    @property
    def gpu_s(self) -> float: ...


@dataclass(frozen=True)
class TimeLeft:
    """Seconds, at least and at most."""

    low_s: float
    high_s: float


@dataclass(frozen=True)
class Pace:
    """What a unit of length takes, in seconds and GPU seconds, and how much trials differ in that.

    `spread`: relative standard deviation between so many `trials`.
    """

    unit_s: float
    unit_gpu_s: float
    spread: float
    trials: int

    def factor(self, more: int) -> float:
        """Return by what so many more trials together may take longer, or shorter: two standard errors."""
        error = self.spread * math.sqrt(1 / self.trials + 1 / max(1, more))
        return math.exp(min(2 * error, math.log(_WIDEST)))


def measured(trials: Iterable[Timed], full: float) -> Pace | None:
    """Return what trials took for a unit of length, None until half a trial of the length `full` is known."""
    trials = list(trials)
    took = [
        (trial.wall_s, trial.length)
        for trial in trials
        if trial.state in _MEASURED and _known(trial.length) and _known(trial.wall_s)
    ]
    trained = sum(length for _, length in took)
    unit_s = sum(seconds for seconds, _ in took) / trained if _known(trained) else 0.0
    if not (_known(unit_s) and trained >= _KNOWN_AT * full):
        return None
    mean = math.log(unit_s)
    squares = sum(length * (math.log(wall_s) - math.log(length) - mean) ** 2 for wall_s, length in took)
    spread = math.sqrt(squares / trained + _GUESSED**2 / len(took))
    ended = [trial for trial in trials if trial.state in _MEASURED[1:] and _known(trial.gpu_s)]
    of_gpus = sum(trial.length for trial in ended if _known(trial.length))
    unit_gpu_s = sum(trial.gpu_s for trial in ended) / of_gpus if _known(of_gpus) else 0.0
    return Pace(unit_s, unit_gpu_s, spread, len(took))


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and 0 < value < math.inf


def time_left(
    trials: Iterable[Timed], full: float, *, lanes: int, waiting: int, shortest: float | None = None
) -> TimeLeft | None:
    """Return how long running trials and those that wait still take, None while nobody can know.

    At least: the others end as early as those that have ended, and nothing waits for the last one. At most:
    all run to their full length. Both as much apart as what trials took is.

    Args:
        trials: all of the study.
        full: length of one.
        lanes: how many run at the same time.
        waiting: how many wait for a lane.
        shortest: how far a trial gets at least where a rule ends some early; None where none does.
    """
    trials = list(trials)
    pace = measured(trials, full)
    if pace is None:
        return None
    left = [full - _reached(one, full) for one in trials if one.state is TrialState.RUNNING]
    longest = full if waiting else max(left, default=0.0)
    ahead, lanes = sum(left) + waiting * full, max(1, min(lanes, len(left) + waiting))
    ended = [_reached(one, full) / full for one in trials if one.state.terminal]
    if shortest is not None:
        ended.append(min(1.0, shortest / full))
    share = sum(ended) / len(ended) if ended else 1.0
    factor = pace.factor(len(left) + waiting)
    return TimeLeft(
        low_s=pace.unit_s * ahead * share / lanes / factor,
        high_s=pace.unit_s * (ahead / lanes + longest * (1 - 1 / lanes)) * factor,
    )


def _reached(trial: Timed, full: float) -> float:
    """Return how far a trial is, or was; one that has its answer by another trial's is nowhere."""
    if trial.state is TrialState.SKIPPED or trial.length is None or math.isnan(trial.length):
        return 0.0
    return min(full, max(0.0, trial.length))
