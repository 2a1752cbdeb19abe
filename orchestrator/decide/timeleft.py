"""How long a study still takes: a range, out of what its trials have taken and of how they have ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import add, attrgetter
from typing import Protocol, TypeGuard

from orchestrator.decide.states import TrialState

_KNOWN_AT = 0.5
"""Full trials that must have been measured, in parts of any of them."""
_GUESSED = 0.5
"""Relative spread that one trial more would have shown: with few of them nobody knows better."""
_WIDEST = 10.0
_MEASURED = frozenset({TrialState.RUNNING, TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED})


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
class MeasuredPace:
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


@dataclass(frozen=True)
class Timings:
    """What trials took and how far they got, as sums, so that those of several groups add up.

    `trials`: that were measured, with their `length` and `seconds`; `logs`, `squares`: of the logarithm of
    seconds per length, by length; `gpu_length`, `gpu_s`: of those that have ended; `ended`: trials that
    have, whatever of, with `reached`, the lengths that they came to.
    """

    trials: int = 0
    length: float = 0.0
    seconds: float = 0.0
    logs: float = 0.0
    squares: float = 0.0
    gpu_length: float = 0.0
    gpu_s: float = 0.0
    ended: int = 0
    reached: float = 0.0

    @classmethod
    def of(cls, trials: Iterable[Timed], full: float) -> Timings:
        """Return those of some trials; `full`: length of one."""
        count = ended = 0
        length = seconds = logs = squares = gpu_length = gpu_s = reached = 0.0
        for trial in trials:
            state = trial.state
            if state is TrialState.PENDING:
                continue
            if state is not TrialState.RUNNING:
                ended += 1
                reached += reach(trial, full)
            if state not in _MEASURED or not _known(trial.length) or not _known(trial.wall_s):
                continue
            log = math.log(trial.wall_s) - math.log(trial.length)
            count, length, seconds = count + 1, length + trial.length, seconds + trial.wall_s
            logs, squares = logs + log * trial.length, squares + log * log * trial.length
            if state is not TrialState.RUNNING:
                gpu_length += trial.length
                gpu_s += trial.gpu_s if _known(trial.gpu_s) else 0.0
        return cls(count, length, seconds, logs, squares, gpu_length, gpu_s, ended, reached)

    def __add__(self, other: Timings) -> Timings:
        return Timings(*map(add, _sums(self), _sums(other)))

    def pace(self, full: float) -> MeasuredPace | None:
        """Return what a unit of length takes, None until half a trial of the length `full` is known."""
        unit_s = self.seconds / self.length if _known(self.length) else 0.0
        if not (_known(unit_s) and self.length >= _KNOWN_AT * full):
            return None
        mean = self.logs / self.length
        spread = math.sqrt(max(0.0, self.squares / self.length - mean * mean) + _GUESSED**2 / self.trials)
        unit_gpu_s = self.gpu_s / self.gpu_length if _known(self.gpu_length) else 0.0
        return MeasuredPace(unit_s, unit_gpu_s, spread, self.trials)


_sums = attrgetter(*(one.name for one in fields(Timings)))


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and 0 < value < math.inf


def reach(trial: Timed, full: float) -> float:
    """Return how far a trial is, or was; one that has its answer by another trial's is nowhere."""
    if trial.state is TrialState.SKIPPED or trial.length is None or math.isnan(trial.length):
        return 0.0
    return min(full, max(0.0, trial.length))


def time_left(
    took: Timings, left: Sequence[float], full: float, *, lanes: int, waiting: int, shortest: float | None
) -> TimeLeft | None:
    """Return how long running trials and those that wait still take, None while nobody can know.

    At least: the others end as early as those that have ended, and nothing waits for the last one. At most:
    all run to their full length. Both as much apart as what trials took is.

    Args:
        took: all trials of the study.
        left: what each of the running ones has left of its length.
        full: length of one.
        lanes: how many run at the same time.
        waiting: how many wait for a lane.
        shortest: how far a trial gets at least where a rule ends some early; None where none does.
    """
    pace = took.pace(full)
    if pace is None:
        return None
    ended, reached = took.ended, took.reached
    if shortest is not None:  # the next one may be the first
        ended, reached = ended + 1, reached + min(full, shortest)
    share = reached / full / ended if ended else 1.0
    more = len(left) + waiting
    longest = full if waiting else max(left, default=0.0)
    ahead, lanes, factor = sum(left) + waiting * full, max(1, min(lanes, more)), pace.factor(more)
    return TimeLeft(
        low_s=pace.unit_s * ahead * share / lanes / factor,
        high_s=pace.unit_s * (ahead / lanes + longest * (1 - 1 / lanes)) * factor,
    )
