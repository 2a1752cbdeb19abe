"""An entrypoint that ignores its seed is found out while the reference's first two seeds run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.decide.seeds import ignores_seed
from orchestrator.decide.states import TrialState
from orchestrator.engine.messages import TrialProgress
from orchestrator.errors import Fault
from orchestrator.study.cells import Plan
from orchestrator.study.spec import StudySpec


class SeedCheck:
    """Compares the curves of the first two seeds of the reference arm."""

    def __init__(self, spec: StudySpec, plan: Plan) -> None:
        self._spec = spec
        self._done = spec.deterministic
        self._seeds: dict[str, int] = {}
        self.grow(plan)

    def grow(self, plan: Plan) -> None:
        """Begin once the plan has two seeds of the reference under the same settings (samples are none)."""
        self._plan = plan
        if self._seeds:
            return
        watched = [cell for cell in plan.cells if cell.arm == plan.reference and cell.sample is None][:2]
        self._seeds = {cell.cell: cell.seed for cell in watched} if len(watched) == 2 else {}
        self._curves: dict[str, list[dict[str, Any]]] = {cell: [] for cell in self._seeds}

    def take(self, event: TrialProgress) -> None:
        """Add a trial's reports, when it is one of the two."""
        curve = self._curves.get(event.cell)
        if self._done or curve is None:
            return
        first = event.reports[0].index - 1
        if first > len(curve):  # it began under an earlier driver: its curve is not known from the start
            self._done = True
            return
        del curve[first:]  # a resumed trial reports again from its checkpoint
        curve += [dict(report.metrics) for report in event.reports]

    def fault(self, states: Mapping[str, TrialState]) -> Fault | None:
        """What is wrong with the entrypoint, once it is known."""
        if self._done or not self._seeds:
            return None
        a, b = self._curves
        ended = states[a] is TrialState.DONE and states[b] is TrialState.DONE
        if not ignores_seed(self._curves[a], self._curves[b], ended=ended):
            self._done = ended
            return None
        self._done = True
        return Fault(
            f"seeds {self._seeds[a]} and {self._seeds[b]} of {self._plan.reference!r} give identical curves: "
            "the entrypoint ignores its seed",
            field="entrypoint",
            value=self._spec.entrypoint,
            hint="use config['seed'] (a Task does by itself), or set `deterministic: true` if that is meant",
        )
