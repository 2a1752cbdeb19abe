"""A running study at one moment, as plain data: what the live table and other listeners draw."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.decide.states import TrialState
from orchestrator.study.naming import cell_name


@dataclass(frozen=True)
class CellView:
    """One cell. `length` is in the study's unit, `value` the metric in the user's units."""

    cell: str
    arm: str
    seed: int
    state: TrialState = TrialState.PENDING
    length: float | None = None
    value: float | None = None
    attempt: int = 0
    lane: str | None = None
    reason: str | None = None
    phase: str = "fixed"
    sample: int | None = None

    @property
    def name(self) -> str:
        """For people."""
        return cell_name(self.arm, self.seed, self.phase, self.sample)


@dataclass(frozen=True)
class Snapshot:
    """The whole study. `elapsed_s` and `eta_s`: seconds since this run began, and still to go."""

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
    cells: tuple[CellView, ...]
    notes: tuple[str, ...] = field(default=())

    def counts(self) -> dict[TrialState, int]:
        """Cells per state, states without cells left out, in the order of `TrialState`."""
        tally = {state: sum(1 for view in self.cells if view.state is state) for state in TrialState}
        return {state: number for state, number in tally.items() if number}
