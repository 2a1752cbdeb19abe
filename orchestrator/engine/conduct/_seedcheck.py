"""An entrypoint that ignores its seed is found out while the reference's first two seeds run."""

from __future__ import annotations

from orchestrator.decide.seeds import SeedComparison
from orchestrator.decide.states import TrialState
from orchestrator.engine.conduct._heard import Heard
from orchestrator.engine.messages import TrialProgress
from orchestrator.errors import Fault
from orchestrator.record.state import StudyState
from orchestrator.study.spec import StudySpec


class SeedCheck:
    """Compares the curves of the first two seeds of the reference arm."""

    def __init__(self, spec: StudySpec, state: StudyState) -> None:
        self._spec, self._state = spec, state
        self._done = spec.deterministic
        self._looked_at = 0
        self._seeds: dict[str, int] = {}
        self._curves: dict[str, Heard] = {}
        self._found = SeedComparison()

    def take(self, event: TrialProgress) -> None:
        """Add a trial's reports, when it is one of the two."""
        self._choose()
        curve = self._curves.get(event.cell)
        if self._done or curve is None:
            return
        if event.reports[0].index <= self._found.same:  # resumed: it says again what was compared
            self._found = SeedComparison()
        curve.take(event.reports)
        self._done = not curve.known

    def fault(self) -> Fault | None:
        """Return what is wrong with the entrypoint, once it is known."""
        if self._done or not self._seeds:
            return None
        a, b = self._curves
        ended = all(self._state.cells[cell].state is TrialState.DONE for cell in (a, b))
        rows_a, rows_b = self._curves[a].rows, self._curves[b].rows
        self._found.look(rows_a, rows_b)
        if not self._found.says_same((len(rows_a), len(rows_b)), ended=ended):
            if ended or self._found.differs:
                self._done, self._curves = True, {}  # nobody asks what they have reported any more
            return None
        self._done = True
        return Fault(
            f"seeds {self._seeds[a]} and {self._seeds[b]} of {self._state.plan.reference!r} give identical "
            "curves: the entrypoint ignores its seed",
            field="entrypoint",
            value=str(self._spec.entrypoint),
            hint="use config['seed'] (a Task does by itself), or set `deterministic: true` if that is meant",
        )

    def _choose(self) -> None:
        """Begin once the plan has two seeds of the reference under the same settings (samples are none)."""
        plan = self._state.plan
        if self._seeds or len(plan.cells) == self._looked_at:
            return
        self._looked_at = len(plan.cells)
        watched = [cell for cell in plan.cells if cell.arm == plan.reference and cell.sample is None][:2]
        if len(watched) == 2:
            self._seeds = {cell.cell: cell.seed for cell in watched}
            self._curves = {cell: Heard() for cell in self._seeds}
