"""What only a running engine knows of a trial."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.decide.states import TrialState
from orchestrator.engine.messages import Answer
from orchestrator.record.state import TrialRecord


@dataclass
class LiveTrial:
    """A trial of this run, beside its `record`. Times are seconds of the conductor's clock.

    `lane`: the worker group that it was last heard of on; `since`: when the attempt under way was handed out,
    None when its seconds are counted; `handed`: the attempt that a slot was last given, not the ones that
    followed it there; `length`, `value`: of the latest report; `answer`: what the trial ends as when it was
    told to leave, whether it has heard of it or not; `unrecorded_s`: of attempts that ended, in no event yet.
    """

    record: TrialRecord
    length: float | None
    value: float | None
    answer: Answer | None
    lane: str | None = None
    since: float | None = None
    handed: int = 0
    unrecorded_s: float = 0.0

    @classmethod
    def of(cls, record: TrialRecord) -> LiveTrial:
        """As the journal left it: a decision to stop holds, although the trial did not live to hear of it."""
        stop = record.stop
        answer = None if stop is None else Answer(True, stop.state, stop.reason)
        return cls(record, record.length, record.value, answer)

    @property
    def key(self) -> tuple[str, int]:
        """Cell and attempt."""
        return self.record.cell, self.record.attempts

    def seen(self) -> TrialRecord:
        """Return a copy of the record with how far the trial is now."""
        return replace(self.record, state=TrialState.RUNNING, length=self.length, value=self.value)

    def under_way_s(self, now: float) -> float:
        """Seconds of the attempt that is under way."""
        return 0.0 if self.since is None else now - self.since

    def spend(self, wall_s: float) -> None:
        """Count the seconds of an attempt that ended."""
        self.unrecorded_s += wall_s
        self.since = None

    def take_unrecorded(self) -> float:
        """Seconds that no event has told of, for the one that does: the journal's sums are the totals."""
        spent, self.unrecorded_s = self.unrecorded_s, 0.0
        return spent
