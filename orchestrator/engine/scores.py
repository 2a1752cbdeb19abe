"""The scores at the rungs, each among those that it competes with."""

from __future__ import annotations

from orchestrator.decide.rungs import Decision, RungReport, decide
from orchestrator.decide.stopping import Competition, competition
from orchestrator.record.state import StudyState
from orchestrator.study.cells import Cell
from orchestrator.study.spec import StudySpec


class Scores:
    """Oriented scores by group and rung, rebuilt from the journal when the study is taken up again."""

    def __init__(self, spec: StudySpec, history: StudyState) -> None:
        self._spec, self._reference = spec, history.plan.reference
        self._groups: dict[str, dict[float, dict[str, float]]] = {}
        for rung, scores in history.rung_table.items():
            for cell, score in scores.items():
                self._keep(self.competition(history.plan.cell(cell)).group, rung, cell, score)

    def competition(self, cell: Cell) -> Competition:
        """The rule that the cell is under, and among whom."""
        return competition(self._spec, self._reference, cell)

    def decide(self, cell: Cell, report: RungReport) -> Decision:
        """May the trial go on? The score counts for those that come after it."""
        found = self.competition(cell)
        group = self._groups.setdefault(found.group, {})
        decision = decide(found.rule, group, report, protected=found.protected)
        self._keep(found.group, report.rung, report.cell, report.score)
        return decision

    def _keep(self, group: str, rung: float, cell: str, score: float) -> None:
        self._groups.setdefault(group, {}).setdefault(rung, {})[cell] = score
