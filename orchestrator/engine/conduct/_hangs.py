"""Which running attempts have not been heard of for too long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from orchestrator.decide.budget import report_timeout

Attempt = tuple[str, int]
"""Cell and number of the attempt."""


@dataclass
class _Heard:
    since: float
    reported: bool = False


class HangDetector:
    """Times are seconds of the caller's clock.

    A trial that never reported is left alone: building data and model may take any time. One that goes on
    from a checkpoint has to do that again, so its first report may take as much longer as the slowest start
    of this run; while none is known, it is left alone too.
    """

    def __init__(self, setting: float | Literal["auto"]) -> None:
        self._setting = setting
        self._heard: dict[Attempt, _Heard] = {}
        self._hanging: set[Attempt] = set()
        self._resumed: set[Attempt] = set()
        self._longest_interval_s: float | None = None
        self._longest_start_s: float | None = None

    def started(self, attempt: Attempt, now: float, *, resumed: bool) -> None:
        """Take in that the user's code is about to be called."""
        self._heard.setdefault(attempt, _Heard(now))
        if resumed:
            self._resumed.add(attempt)

    def reported(self, attempt: Attempt, now: float, reports: int) -> None:
        """So many reports since the last call."""
        heard = self._heard.setdefault(attempt, _Heard(now, reported=True))
        passed = now - heard.since
        if heard.reported:
            self._longest_interval_s = max(self._longest_interval_s or 0.0, passed / reports)
        else:
            self._longest_start_s = max(self._longest_start_s or 0.0, passed)
        self._heard[attempt] = _Heard(now, reported=True)

    def overdue(self, running: Iterable[Attempt], now: float) -> dict[Attempt, str]:
        """Return attempts that hang, each named once, with the words for it. Forgets all that do not run."""
        limit = report_timeout(self._setting, self._longest_interval_s)
        attempts = set(running)
        self._heard = {attempt: heard for attempt, heard in self._heard.items() if attempt in attempts}
        self._resumed &= attempts
        found = {}
        for attempt, heard in self._heard.items():
            allowed = limit
            if not heard.reported:
                if attempt not in self._resumed or self._longest_start_s is None:
                    continue
                allowed += self._longest_start_s
            silent = now - heard.since
            if silent > allowed and attempt not in self._hanging:
                found[attempt] = f"no report for {silent:.0f} s (limit {allowed:.0f} s)"
        self._hanging |= set(found)
        return found

    def hangs(self, attempt: Attempt) -> bool:
        """Whether `overdue` has named it."""
        return attempt in self._hanging
