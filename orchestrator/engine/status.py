"""A running study at one moment, as plain data: what the live table and other listeners draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.decide.states import TrialState
from orchestrator.decide.timeleft import TimeLeft
from orchestrator.record.state import TrialRecord


@dataclass(frozen=True)
class Snapshot:
    """The whole study.

    `claimed`: the metric of finished trials, where `metric` only selects.
    `cells`: running trials as far as they are, those that wait as pending; not to be changed; `elapsed_s`:
    seconds since this run began; `left`: how long it still takes, None while nobody can know.
    """

    study: str
    metric: str
    mode: str
    unit: str
    max_length: float
    lanes: int
    elapsed_s: float
    spent_gpu_h: float
    left: TimeLeft | None
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
