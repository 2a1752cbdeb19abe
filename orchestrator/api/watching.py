"""A study as somebody watches it: where it stands, the curves of its arms, its effects so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError
from orchestrator.reporting.curves import curve, curve_of

if TYPE_CHECKING:
    from orchestrator.api.recorded import OpenedStudy
    from orchestrator.record.state import TrialRecord
    from orchestrator.reporting.curves import Points
    from orchestrator.reporting.model import Curve, StudyReport
    from orchestrator.reporting.standing import StudyStanding

MOST_TRIALS = 500
"""Trials of a study whose curves and effects are looked at all the time."""


@dataclass(frozen=True)
class Watched:
    """One look. `curves`: of the last phase, by arm; `report`: as far as the study got, without curves.

    Of a study with more than `MOST_TRIALS` trials there are neither, nor of one that cannot be read.
    """

    standing: StudyStanding
    curves: tuple[Curve, ...] = ()
    report: StudyReport | None = None


@dataclass
class Watcher:
    """Looks at a study again and again, and reads what may have changed since the look before."""

    run: OpenedStudy
    _points: dict[tuple[str, int, str], Points] = field(default_factory=dict)
    _report: StudyReport | None = None
    _ended: frozenset[tuple[str, int, str]] | None = None

    def look(self) -> Watched:
        """Return the study as it is now. Raises `StudyError` when its record is damaged."""
        found = self.run.status()
        if len(found.cells) > MOST_TRIALS:
            return Watched(found)
        try:
            return Watched(found, self._curves(found), self._effects(found))
        except OrchestratorError:  # what can be said without is said
            return Watched(found)

    def _curves(self, found: StudyStanding) -> tuple[Curve, ...]:
        last = found.cells[-1].phase if found.cells else ""
        by_arm: dict[str, list[Points]] = {}
        for cell in found.cells:
            if cell.begun and cell.sample is None and cell.phase == last:
                by_arm.setdefault(cell.arm, []).append(self._points_of(cell, found))
        return tuple(curve(arm, runs) for arm, runs in by_arm.items() if any(runs))

    def _points_of(self, cell: TrialRecord, found: StudyStanding) -> Points:
        now = (cell.cell, cell.attempts, str(cell.state))
        known = self._points.get(now)
        if known is None:
            known = curve_of(self.run.storage, self.run.trial_paths(cell), found.metric, found.unit)
            if cell.state.terminal:
                self._points[now] = known
        return known

    def _effects(self, found: StudyStanding) -> StudyReport:
        """Compute effects anew when a trial has ended."""
        ended = frozenset(
            (cell.cell, cell.attempts, str(cell.state)) for cell in found.cells if cell.state.terminal
        )
        if self._report is None or ended != self._ended:
            self._report, self._ended = self.run.report(curves=False, new_data=False), ended
        return self._report
