"""Which of the scores that a trial hands over belong to the report that counts."""

from __future__ import annotations

from orchestrator.record.scores import Scores
from orchestrator.study.spec import MetricSpec


class OfferedScores:
    """The scores of the samples, as the trial offers them: each time those of its last validation.

    They belong to the report that follows; the last ones may come behind the last report.
    """

    def __init__(self) -> None:
        self._latest: Scores | None = None
        self._counted: Scores | None = None
        self._fresh = False  # offered since the last report

    def resume(self, scores: Scores | None) -> None:
        """Go on from those that counted at the checkpoint from which the trial goes on."""
        self._latest = self._counted = scores

    def offer(self, scores: Scores) -> None:
        """Take them."""
        self._latest, self._fresh = scores, True

    def reported(self, *, counts: bool) -> None:
        """Note a report, and whether it is the one that counts so far."""
        if counts:
            self._counted = self._latest if self._fresh else None
        self._fresh = False

    def kept(self, metric: MetricSpec) -> Scores | None:
        """Return those of the report that counts, at the end of the trial."""
        return self._latest if metric.at == "last" else self._counted
