"""What the message actor knows of each worker group, and of the trial that it works on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.engine.messages import Answer, Assignment, Attached, LaneEvent, Outcome


@dataclass
class LaneTrial:
    """The assignment that a lane works on."""

    assignment: Assignment
    since: float = field(default_factory=time.monotonic)
    incarnation: str | None = None  # the worker group that took it
    answers: dict[int, asyncio.Future[Answer]] = field(default_factory=dict)  # by report
    asked: dict[int, int] = field(default_factory=dict)  # by report: ranks that have asked
    open: set[asyncio.Future[Answer]] = field(default_factory=set)  # asked by all, not yet settled
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    said: dict[str, dict[int, Any]] = field(default_factory=dict)  # what ranks tell each other
    complete: dict[str, asyncio.Event] = field(default_factory=dict)
    came: set[int] = field(default_factory=set)  # ranks that have come to a report
    awaited: asyncio.Future[Answer] | None = None  # the rung decision that rank 0 waits for
    stop: Answer | None = None  # asked for from outside; takes effect at rank 0's next report
    lost: bool = False  # its worker group is gone; the driver says what comes next
    ended: bool = False

    @property
    def to_do(self) -> bool:
        """Neither ended nor lost."""
        return not (self.ended or self.lost)

    def begin(self, incarnation: str) -> None:
        """Workers take it: waiting for them is not the trial's time."""
        if self.incarnation is None:
            self.incarnation, self.since = incarnation, time.monotonic()

    def ask(self, index: int, ranks: int) -> asyncio.Future[Answer]:
        """Return the answer to a report, the same for each of the `ranks`."""
        settled = self.answers.setdefault(index, asyncio.get_running_loop().create_future())
        self.asked[index] = self.asked.get(index, 0) + 1
        if self.asked[index] == ranks:  # the last one: all have the future
            del self.answers[index], self.asked[index]
            self.open.add(settled)
            settled.add_done_callback(self.open.discard)
        return settled

    def without_rank_0(self) -> str:
        """Say what other ranks wait for where rank 0 has not come to a report of theirs; else nothing."""
        waits = [index for index, settled in self.answers.items() if not settled.done()]
        if not waits or self.awaited is not None:
            return ""
        return f"; other ranks wait at report {min(waits)} for rank 0: every rank has to make every report"

    def decide(self, answer: Answer) -> None:
        """Answer the rung that rank 0 waits at, if it does."""
        if self.awaited and not self.awaited.done():
            self.awaited.set_result(answer)

    async def wait_for_all(self, what: str, rank: int, mine: Any, ranks: int) -> dict[int, Any]:
        """Return what each of the ranks says of `what`; of some only when the trial is over before."""
        said = self.said.setdefault(what, {})
        said[rank] = mine
        complete = self.complete.setdefault(what, asyncio.Event())
        if len(said) == ranks:  # the last one: all have both
            del self.said[what], self.complete[what]
            complete.set()
        await complete.wait()
        return said

    def release(self, answer: Answer) -> None:
        """Take in that the trial is over: nobody waits any more."""
        self.decide(answer)
        for settled in (*self.answers.values(), *self.open):
            if not settled.done():
                settled.set_result(answer)
        for complete in self.complete.values():
            complete.set()


@dataclass
class LaneState:
    """A worker group and what it works on. `incarnation` changes with every restart of the group."""

    name: str
    world_size: int
    incarnation: str = ""
    ranks: dict[int, Attached] = field(default_factory=dict)
    trial: LaneTrial | None = None
    serial: int = 0
    closed: bool = False
    recycling: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    events: asyncio.Queue[LaneEvent] = field(default_factory=asyncio.Queue)

    async def notify(self) -> None:
        """Wake the workers that wait for an assignment."""
        async with self.changed:
            self.changed.notify_all()


def joint_outcome(outcomes: dict[int, Outcome]) -> Outcome:
    """Return the trial's outcome: that of the rank that left first with the worst one (later ones follow from
    it), with rank 0's length and value, and every rank's leftovers.
    """
    severity = [
        TrialState.DONE,
        TrialState.STOPPED,
        TrialState.SKIPPED,
        TrialState.CANCELLED,
        TrialState.DIVERGED,
        TrialState.FAILED,
    ]
    worst = max(
        outcomes, key=lambda rank: (not outcomes[rank].secondary, severity.index(outcomes[rank].state))
    )
    chosen, lead = outcomes[worst], outcomes.get(0, outcomes[worst])
    leftovers = tuple(
        f"rank {rank}: {what}" if len(outcomes) > 1 else what
        for rank in sorted(outcomes)
        for what in outcomes[rank].recycle
    )
    return replace(chosen, length=lead.length, value=lead.value, recycle=leftovers, imported=lead.imported)
