"""When a trial has not become better for so long that it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.training.snapshot import Position


@dataclass(frozen=True)
class Patience:
    """Ends a trial after `reports` reports in a row without a better value of the study's metric."""

    reports: int
    metric: str
    mode: str
    min_delta: float = 0.0

    def saw(self, metrics: Mapping[str, Any], position: Position) -> None:
        """Take in a report; the best value so far is part of the trial's position.

        Raises:
            ValueError: the report lacks the metric.
        """
        if self.metric not in metrics:
            raise ValueError(
                f"train.patience watches the study's metric, {self.metric!r}; reported: {', '.join(metrics)}"
            )
        value, best = float(metrics[self.metric]), position.best
        gain = 0.0 if best is None else (value - best) * (1 if self.mode == "max" else -1)
        if value == value and (best is None or gain > self.min_delta):
            position.best, position.best_report = value, position.reports

    def over(self, position: Position) -> str | None:
        """Return why the trial ends here, or None."""
        waited = position.reports - position.best_report
        if waited < self.reports:
            return None
        best = "no value" if position.best is None else f"{position.best:g} at report {position.best_report}"
        return (
            f"out of patience: {self.metric} has not become better in {waited} reports (best: {best}; "
            f"train.patience: {self.reports})"
        )
