"""Which running attempts have not been heard of for too long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from orchestrator.decide.budget import report_timeout
from orchestrator.engine.conduct._trialqueue import LiveTrial


class HangDetector:
    """Times are seconds of the caller's clock.

    A trial that never reported is left alone: building data and model may take any time. But once another
    rank waits at its first report, rank 0 has as long as between reports. One that goes on from a checkpoint
    has to build them again, so its first report may take as much longer as the slowest start of this run;
    while none is known, it is left alone too.
    """

    def __init__(self, setting: float | Literal["auto"]) -> None:
        self._setting = setting
        self._longest_interval_s: float | None = None
        self._longest_start_s: float | None = None

    def started(self, live: LiveTrial, now: float, *, resumed: bool) -> None:
        """Take in that the user's code is about to be called."""
        live.heard = now if live.heard is None else live.heard
        live.resumed = resumed

    def reported(self, live: LiveTrial, now: float, reports: int) -> None:
        """So many reports since the last call."""
        passed = 0.0 if live.heard is None else now - live.heard
        if live.reported or live.heard is None:
            self._longest_interval_s = max(self._longest_interval_s or 0.0, passed / reports)
        else:
            self._longest_start_s = max(self._longest_start_s or 0.0, passed)
        live.heard, live.reported = now, True

    def overdue(self, running: Iterable[LiveTrial], now: float) -> list[tuple[LiveTrial, str]]:
        """Return trials that hang, each attempt named once, with the words for it; `hangs` is set."""
        limit = report_timeout(self._setting, self._longest_interval_s)
        found = []
        for live in running:
            since, allowed = live.heard, limit
            if since is None or live.hangs:
                continue
            if not live.reported and live.awaited is not None:
                since = live.awaited
            elif not live.reported:
                if not live.resumed or self._longest_start_s is None:
                    continue
                allowed += self._longest_start_s
            silent = now - since
            if silent > allowed:
                live.hangs = True
                found.append((live, f"no report for {silent:.0f} s (limit {allowed:.0f} s)"))
        return found
