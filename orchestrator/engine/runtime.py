"""Worker groups as the driver sees them, and the one road on which it hears of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from orchestrator.engine.capacity import ClusterPart, Node
from orchestrator.engine.conduct import Conductor
from orchestrator.engine.messages import Action, DriverEvent, Said, TrialEnded, TrialProgress
from orchestrator.record.spans import now_us


class Runtime(Protocol):
    """Starts worker groups, gives them attempts, and ends them. Tune on Ray, or threads of one process.

    A runtime asks the conductor for attempts (`next_assignment`) as long as there is room. It tells the road
    of every rung and every end, and the conductor of a slot that was lost with its attempt (`actor_lost`).
    """

    def run(self, road: Road) -> None:
        """Run attempts until the conductor has finished; returns when no worker is at one any more."""
        ...

    def drain(self, taken: int, timeout_s: float) -> Said:
        """Return what was said after the first `taken` events; waits up to `timeout_s` seconds for it."""
        ...

    def carry_out(self, action: Action) -> None:
        """Reassign, recycle, stop a trial, or set nodes aside. Does not wait until that is done."""
        ...

    def nodes(self) -> list[Node]:
        """Return the machines, those that were lost included."""
        ...

    def part(self, groups: int) -> ClusterPart | None:
        """Return what a study that could use so many groups may have beside others; None: all that fits."""
        ...

    def ask_for(self, bundles: Sequence[dict[str, float]]) -> None:
        """Ask for what could be used beyond what there is: resources by name, one bundle a worker."""
        ...

    def wake(self) -> None:
        """Let `drain` return at once, now and from now on: the study is over."""
        ...


class Road:
    """Brings what workers said to the conductor, each thing once and in its order.

    The thread beside the runtime drains it all the time. The end of a trial carries what was said before it,
    so that whoever sees it first never has to wait for the other.
    """

    def __init__(self, conductor: Conductor, runtime: Runtime) -> None:
        self.conductor, self.runtime = conductor, runtime
        self._taken = 0

    def drain(self, timeout_s: float) -> None:
        """Take in what is new, and wait up to `timeout_s` seconds for it."""
        self._take(self.runtime.drain(self._taken, timeout_s))

    def ended(self, event: TrialEnded) -> None:
        """Take in that a trial ended on all of its ranks."""
        self._take(event.said)
        self.conductor.ended(event)

    def lost(self, attempt: tuple[str, int]) -> None:
        """Take in that the slot of an attempt is gone, after all that its trial has said."""
        self.drain(0.0)
        self.conductor.actor_lost(attempt)

    def carry_out(self, actions: Sequence[Action]) -> None:
        """Let the runtime do what the conductor wants done."""
        for action in actions:
            self.runtime.carry_out(action)

    def _take(self, said: Said) -> None:
        with self.conductor.lock:
            new = said.events[self._taken - said.first :]
            self._taken += len(new)
            trace = self.conductor.record.trace
            with trace.span("take messages", **_counted(new)) if trace.on and new else nullcontext():
                actions = self.conductor.take(new)
        self.carry_out(actions)


def _counted(events: Sequence[DriverEvent]) -> dict[str, Any]:
    """Return how many there are, how many reports in how many batches, and how long the oldest one took."""
    batches = [event for event in events if isinstance(event, TrialProgress)]
    found = {"messages": len(events), "batches": len(batches)}
    if batches:
        found["reports"] = sum(len(batch.reports) for batch in batches)
        found["queued_us"] = now_us() - min(batch.since_us for batch in batches)
    return found
