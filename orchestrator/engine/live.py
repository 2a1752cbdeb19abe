"""A cell as it stands while the study runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.messages import Answer
from orchestrator.record.state import TrialRecord
from orchestrator.study.cells import Cell


@dataclass
class LiveCell:
    """One cell. Times are seconds of the conductor's clock; `wall_s` and `gpu_s` of attempts that ended."""

    cell: Cell
    state: TrialState
    attempts: int
    retries: int  # hangs and infrastructure failures since the last new checkpoint
    wall_s: float
    gpu_s: float
    length: float | None = None
    value: float | None = None
    cause: Cause | None = None
    reason: str | None = None
    lane: str | None = None
    assigned_at: float | None = None
    verdict: Answer | None = None  # a recorded decision to stop
    recorded: set[float] = field(default_factory=set)  # rungs with a decision
    _unrecorded_s: float = 0.0  # of attempts that ended and are not journalled yet

    @classmethod
    def of(cls, cell: Cell, record: TrialRecord) -> LiveCell:
        """As the journal left it."""
        return cls(
            cell,
            record.state,
            record.attempts,
            record.retries_since_progress,
            record.wall_s,
            record.gpu_s,
            record.length,
            record.value,
            record.cause,
            record.reason,
        )

    @classmethod
    def new(cls, cell: Cell) -> LiveCell:
        """A cell that was just added to the plan."""
        return cls(cell, TrialState.PENDING, attempts=0, retries=0, wall_s=0.0, gpu_s=0.0)

    @property
    def name(self) -> str:
        """For people."""
        return self.cell.name

    def since_assigned(self, now: float) -> float:
        """Seconds of the attempt that is under way."""
        return 0.0 if self.assigned_at is None else now - self.assigned_at

    def spend(self, wall_s: float, gpus: float) -> None:
        """An attempt ended after `wall_s` seconds on `gpus` GPUs."""
        self.wall_s += wall_s
        self.gpu_s += wall_s * gpus
        self._unrecorded_s += wall_s
        self.assigned_at = None

    def unrecorded(self) -> float:
        """Seconds since the last event that carried any: the journal's sums are the cell's totals."""
        spent, self._unrecorded_s = self._unrecorded_s, 0.0
        return spent
