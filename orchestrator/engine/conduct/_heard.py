"""What a trial has reported from its start, as far as this driver has heard it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.engine.messages import Progress


class Heard:
    """The reports of one trial. `known`: from the first one on; `most`: how many are kept."""

    def __init__(self, most: int | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.known = True
        self._most = most

    def take(self, reports: Sequence[Progress]) -> None:
        """Take what it reported since the last call."""
        first = reports[0].index - 1
        if self._most is not None and first >= self._most:
            self.known = self.known and len(self.rows) == self._most
            return
        if first > len(self.rows):  # it began under an earlier driver
            self.known = False
            return
        del self.rows[first:]  # a resumed trial reports again from its checkpoint
        self.rows.extend(dict(report.metrics) for report in reports)
        if self._most is not None:
            del self.rows[self._most :]
