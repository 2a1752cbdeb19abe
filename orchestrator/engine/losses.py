"""What a study loses while it runs: a trial actor, a worker group, a worker that does not come up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import TrialState
from orchestrator.engine.actions import Action, Reassign, StopRequest
from orchestrator.engine.ends import Ends
from orchestrator.engine.live import LiveCell
from orchestrator.engine.messages import Assignment, GroupLost, LaneUp, Outcome, WorkerFailed
from orchestrator.engine.notes import Notes, last_line
from orchestrator.engine.placement import Placement
from orchestrator.engine.roster import Roster
from orchestrator.engine.silence import Silence
from orchestrator.engine.stopping import Stopping
from orchestrator.errors import ClusterUnavailable, ExitCode
from orchestrator.study.spec import ResourcesSpec

WORKER_STARTS = 3  # how often a group may fail to start before the study gives up


class Losses:
    """Says of each loss whether its cell ends, or where it goes on. The conductor's lock guards it.

    Args:
        assign: the next attempt at a cell, journaled.
    """

    def __init__(
        self,
        resources: ResourcesSpec,
        roster: Roster,
        placement: Placement,
        notes: Notes,
        stopping: Stopping,
        ends: Ends,
        silence: Silence,
        assign: Callable[[LiveCell], Assignment],
    ) -> None:
        self._roster, self._placement, self._notes = roster, placement, notes
        self._stopping, self._ends, self._silence, self._assign = stopping, ends, silence, assign
        self._most_failures = resources.workers * WORKER_STARTS
        self._given_up: dict[tuple[str, int], Outcome] = {}  # lost groups that are not tried again
        self._worker_failures = 0  # in a row

    def given_up(self, live: LiveCell) -> bool:
        """Whether this attempt's group was lost, and is not tried again."""
        return (live.cell.cell, live.attempts) in self._given_up

    def lane_up(self, event: LaneUp) -> None:
        """Workers do start."""
        self._worker_failures = 0
        self._placement.lane_up(event.lane, event.nodes)

    def worker(self, event: WorkerFailed) -> list[Action]:
        """A worker did not come up; some that never do would be started again for ever."""
        aside = self._placement.could_not_start(event.lane, event.node)
        if aside is not None:
            self._worker_failures = 0
            return [aside]
        self._worker_failures += 1
        self._notes.add(f"a worker of {event.lane} could not start: {last_line(event.message)}")
        if self._worker_failures >= self._most_failures:
            reason = f"workers cannot start:\n{event.message}"
            self._stopping.ask(StopRequest(reason, ExitCode.UNAVAILABLE, ClusterUnavailable(reason)))
        return []

    def group(self, live: LiveCell, event: GroupLost) -> list[Action]:
        """A worker group is gone: the next attempt goes to the lane's fresh workers, or the cell ends."""
        key = (event.cell, event.attempt)
        fault = FaultKind.HANG if self._silence.hangs(key) else event.fault
        self._ends.spend(live)
        so_far: dict[str, Any] = {"length": live.length, "value": live.value}
        if live.verdict:
            assert live.verdict.state is not None
            return [Reassign(event.lane, None, Outcome(live.verdict.state, **so_far))]
        if not self._stopping.request:
            with self._stopping.recording():
                again = self._ends.failed(live, fault, event.message, event.nodes)
                if again and self._placement.is_ending(event.lane):
                    return []  # the lane ends: Tune hears of it and gives the cell to another one
                if again:
                    return [Reassign(event.lane, self._assign(live))]
        if stop := self._stopping.request:
            cancelled = Outcome(TrialState.CANCELLED, reason=stop.reason, **so_far)
            return [Reassign(event.lane, None, cancelled)]
        self._given_up[key] = Outcome(TrialState.FAILED, fault.cause, event.message, fault=fault, **so_far)
        return [Reassign(event.lane, None, self._given_up[key])]

    def actor(self, live: LiveCell) -> None:
        """A trial actor died, its lane with it: the cell goes to another one, or ends."""
        self._ends.spend(live)
        if live.verdict:
            self._ends.as_decided(live)
            return
        given_up = self._given_up.get((live.cell.cell, live.attempts))
        if given_up is not None:  # the lane ended before it could say so
            self._ends.end(live, given_up.state, given_up.cause, given_up.reason, live.lane)
            return
        if stop := self._stopping.request:  # nothing failed for good: the next start goes on with it
            self._ends.end(live, TrialState.CANCELLED, None, stop.reason, live.lane)
            return
        moved = self._placement.is_ending(live.lane)
        fault = FaultKind.MOVED if moved else FaultKind.UNKNOWN
        message = "its node was set aside" if moved else "the trial actor died"
        if self._ends.failed(live, fault, message, ()):
            self._roster.put_back(live)
        else:
            self._ends.end(live, TrialState.FAILED, fault.cause, message, live.lane)
