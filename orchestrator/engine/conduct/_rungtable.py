"""The scores at the rungs, each among those that it competes with."""

from __future__ import annotations

from functools import cache

from orchestrator.decide.rungs import Decision, RungReport, decide
from orchestrator.decide.stopping import Competition, competition
from orchestrator.record.state import StudyState
from orchestrator.study.cells import Cell
from orchestrator.study.spec import StudySpec


class RungTable:
    """Looks at the recorded scores as the rules do: group by group."""

    def __init__(self, spec: StudySpec, state: StudyState) -> None:
        self._spec, self._state = spec, state
        self._group = cache(lambda cell: self.competition(state.plan.cell(cell)).group)

    def competition(self, cell: Cell) -> Competition:
        """Return the rule that the cell is under, and among whom."""
        return competition(self._spec, self._state.plan.reference, cell)

    def decide(self, report: RungReport) -> Decision:
        """May the trial go on, given the scores that were recorded before its own?"""
        found = self.competition(self._state.plan.cell(report.cell))
        scores = self._state.rung_table.get(report.rung, {})
        peers = {cell: score for cell, score in scores.items() if self._group(cell) == found.group}
        return decide(found.rule, {report.rung: peers}, report, protected=found.protected)
