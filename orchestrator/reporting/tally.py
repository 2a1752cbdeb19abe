"""What the trials of a study come to, in sums: an arm is counted anew when something happens to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.decide.states import TrialState
from orchestrator.decide.timeleft import Timings
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.ledger import in_grid
from orchestrator.reporting.rungs import Stopping, stopping_of
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Tally:
    """Of some trials, as they are recorded.

    `spent` and `grid`: trained length so far, and of the runs of the grid, as a report's ledger has them;
    `wall_s`, `gpu_s`: the sums of these columns; `timings`: without trials that run; `left`: those that
    the next start would take up.
    """

    spent: float = 0.0
    grid: float = 0.0
    wall_s: float = 0.0
    gpu_s: float = 0.0
    left: int = 0
    timings: Timings = field(default_factory=Timings)
    stopping: Stopping = field(default_factory=Stopping)

    @classmethod
    def of(cls, spec: StudySpec, records: Iterable[TrialRecord]) -> Tally:
        """Count some trials of a study."""
        records, full, seeds = list(records), float(spec.stopping.max), frozenset(spec.seeds)
        return cls(
            sum(record.length or 0.0 for record in records),
            full * sum(in_grid(seeds, record) for record in records),
            sum(record.wall_s for record in records),
            sum(record.gpu_s for record in records),
            sum(record.is_left(retry_failed=False) for record in records),
            Timings.of((record for record in records if record.state is not TrialState.RUNNING), full),
            stopping_of(records, full),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.spent + other.spent,
            self.grid + other.grid,
            self.wall_s + other.wall_s,
            self.gpu_s + other.gpu_s,
            self.left + other.left,
            self.timings + other.timings,
            self.stopping + other.stopping,
        )
