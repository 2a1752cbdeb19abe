"""Curves of trials that the page has drawn: of one that has ended never again, of others what is new."""

from __future__ import annotations

from threading import Lock

from orchestrator.api.recorded import OpenedStudy
from orchestrator.record.metrictable import REPORTS, TableTail
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.curves import Points, points_of

MOST_CURVES = 2_000
"""That are kept; those that were asked for last."""


class KeptCurves:
    """The curves of a study's trials, of the metric that selects."""

    def __init__(self, run: OpenedStudy, metric: str, unit: str) -> None:
        self._run, self._metric, self._unit = run, metric, unit
        self._kept: dict[str, _Kept] = {}
        self._lock = Lock()

    def of(self, cell: TrialRecord) -> Points:
        """Return what a trial that has begun has reported so far, by its length."""
        with self._lock:
            kept = self._kept.pop(cell.cell, None) or _Kept()
            self._kept[cell.cell] = kept
            while len(self._kept) > MOST_CURVES:
                del self._kept[next(iter(self._kept))]
            # what the record says of it: while that is the same, so is its table, but for reports on the way
            now = (cell.attempts, cell.state, cell.length, cell.value)
            if kept.known != now:
                rows, goes_on = kept.tail.read(self._run.storage, self._run.trial_paths(cell), REPORTS)
                new = points_of(rows, self._metric, self._unit)
                kept.points = dict(sorted({**kept.points, **new}.items())) if goes_on else new
                kept.known = now
            return kept.points


class _Kept:
    """One trial: its points, and what was known of it when they were read."""

    def __init__(self) -> None:
        self.tail = TableTail()
        self.points: Points = {}
        self.known: object = None
