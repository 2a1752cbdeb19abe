"""A running study at one moment, as plain data: what the live table and other listeners draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord


@dataclass(frozen=True)
class Snapshot:
    """The whole study.

    `claimed`: the metric of finished trials, where `metric` only selects.
    `cells`: running trials as far as they are, those that wait as pending; not to be changed; `elapsed_s` and
    `eta_s`: seconds since this run began, and still to go.
    """

    study: str
    metric: str
    mode: str
    unit: str
    max_length: float
    lanes: int
    elapsed_s: float
    spent_gpu_h: float
    eta_s: float | None
    arms: tuple[str, ...]
    cells: tuple[TrialRecord, ...]
    notes: tuple[str, ...] = field(default=())
    claimed: str | None = None

    def counts(self) -> dict[TrialState, int]:
        """Cells per state, states without cells left out, in the order of `TrialState`."""
        return {state: number for state, number in counts(self.cells).items() if number}


def counts(trials: Iterable[TrialRecord]) -> dict[TrialState, int]:
    """Trials per state, states without trials included."""
    tally = Counter(trial.state for trial in trials)
    return {state: tally[state] for state in TrialState}


class TimeLeft:
    """How fast a run trains, and so how long it still takes; `before`: the trials as they were before it.

    Counted from the first length that was trained: what workers take to start happens once.
    """

    def __init__(self, before: Sequence[TrialRecord]) -> None:
        self._ended_before = self._ended(before)
        self._since: tuple[float, float] | None = None

    def seconds_left(
        self, trials: Sequence[TrialRecord], full: float, *, now: float, waiting: int
    ) -> float | None:
        """Return an estimate, None until half a trial is through; `full`: length of one trial."""
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        under_way = [min(1.0, (trial.length or 0.0) / full) for trial in running]
        trained = self._ended(trials) - self._ended_before + sum(under_way)
        if trained <= 0:
            return None
        began, had = self._since = self._since or (now, trained)
        left = waiting + sum(1 - share for share in under_way)
        return None if trained - had < 0.5 else (now - began) * left / (trained - had)

    @staticmethod
    def _ended(trials: Sequence[TrialRecord]) -> int:
        return sum(trial.state.terminal and trial.state is not TrialState.SKIPPED for trial in trials)
