"""What stands between the driver, the slots and the workers; knows neither Ray nor torch.

It decides nothing. It hands assignments to the ranks of a worker group, collects reports, keeps the ranks of
one trial together (rank 0's answer to a report is every rank's answer), notices worker groups that were
restarted, and drops what comes from a worker group or an attempt that is no longer current.

What workers say is numbered and kept until the driver has taken it in. A trial's end carries all that came
before it and may still be under way, so nobody has to wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from orchestrator.decide.faults import FaultKind, GroupEnd
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.broker._lane_state import LaneState, LaneTrial, joint_outcome
from orchestrator.engine.messages import (
    CONTINUE,
    Action,
    Answer,
    Assignment,
    Attached,
    DriverEvent,
    EntrypointFailed,
    GroupLost,
    LaneCondemned,
    LaneEvent,
    LaneUp,
    NodeUse,
    Outcome,
    RanksWait,
    Reassign,
    Recycle,
    RungReached,
    Said,
    StopTrial,
    TrialEnded,
    TrialStarted,
    WorkerFailed,
)

log = logging.getLogger(__name__)

# A rank that raised while its peers sit in a collective: how long the peers have to leave by themselves.
PEERS_LEAVE_S = 3.0
# A broken collective is the consequence of another rank's end: how long that one has to show itself, either
# by its own error or by a restarted worker group.
CAUSE_SHOWS_S = 30.0
GATHER_S = 0.5
"""How long what only informs waits for more of it: a message costs the same, however much it carries."""
_URGENT = (GroupLost, WorkerFailed, EntrypointFailed, TrialStarted)
STALE = Answer(stop=True, state=None, reason="this attempt is no longer current")


def _is_urgent(event: DriverEvent) -> bool:
    """Whether the driver has to know at once: what only informs, and comes often, waits for its next look."""
    return isinstance(event, _URGENT)


async def _happens(event: asyncio.Event, within_s: float) -> None:
    """Wait for it, but no longer than that."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, within_s))


class Broker:
    """One object per study. All methods run in one event loop: no locks are needed.

    Calls of one caller may run in another order than they were made, so no method relies on an earlier one
    that was not waited for.

    `kill` ends a worker at once, by its handle; `examine` says why a group died, from its ranks.
    """

    def __init__(
        self,
        kill: Callable[[Any], None],
        examine: Callable[[Sequence[Attached]], Awaitable[GroupEnd]],
        peers_leave_s: float = PEERS_LEAVE_S,
        cause_shows_s: float = CAUSE_SHOWS_S,
    ) -> None:
        self._kill, self._examine = kill, examine
        self._peers_leave_s, self._cause_shows_s = peers_leave_s, cause_shows_s
        self._set_aside: tuple[str, ...] = ()
        self._lanes: dict[str, LaneState] = {}
        self._lane_of: dict[tuple[str, int], LaneState] = {}  # of every attempt that a lane has
        self._taken, self._outbox = 0, list[DriverEvent]()  # what the driver has taken in, and what not yet
        self._news, self._urgent, self._awake = asyncio.Event(), asyncio.Event(), False
        self._background: set[asyncio.Task[None]] = set()
        self._stops: dict[tuple[str, int], Answer] = {}

    # ---- the driver -------------------------------------------------------------------------------------

    async def drain(self, taken: int, timeout_s: float) -> Said:
        """Return what was said after the first `taken` events.

        Waits up to `timeout_s` for something, and from then on for what other lanes say (`GATHER_S`), so that
        it travels together; not where something of it calls for an answer.
        """
        del self._outbox[: max(0, taken - self._taken)]
        self._taken = max(self._taken, taken)
        if not self._awake and not any(map(_is_urgent, self._outbox)):
            clock = asyncio.get_running_loop().time
            deadline = clock() + timeout_s
            self._urgent.clear()
            if not self._outbox:
                self._news.clear()
                await _happens(self._news, timeout_s)
            await _happens(self._urgent, min(GATHER_S, deadline - clock()))
        return self._said()

    async def wake(self) -> None:
        """Let `drain` return at once from now on: the study is over."""
        self._awake = True
        self._news.set()
        self._urgent.set()

    async def answer(self, cell: str, attempt: int, answer: Answer) -> None:
        """Pass on the driver's decision at a rung."""
        for _, trial in self._at(cell, attempt):
            trial.decide(answer)

    async def carry_out(self, action: Action) -> None:
        """Do what the driver wants done."""
        if isinstance(action, StopTrial):
            self._stops[action.cell, action.attempt] = action.answer
            for lane, trial in self._at(action.cell, action.attempt):
                self._stop(lane, trial)
        elif isinstance(action, Reassign):
            await self._reassign(action)
        elif isinstance(action, Recycle):
            for lane, trial in self._at(action.cell, action.attempt):
                if lane.name == action.lane and trial.to_do:
                    self._post(self._lose(lane, trial, f"{action.reason}{trial.without_rank_0()}"))
                    self._kill_group(lane)
        else:
            self._set_aside = action.nodes
            for condemned in (self._lanes[name] for name in action.lanes if name in self._lanes):
                if not condemned.closed:
                    condemned.events.put_nowait(LaneCondemned(condemned.name, action.reason))

    # ---- a slot: the owner's side of a worker group ------------------------------------------------------

    async def open_lane(self, lane_id: str, world_size: int) -> None:
        """There is a new slot; its workers attach later."""
        self._lanes[lane_id] = LaneState(lane_id, world_size)

    async def take(self, lane_id: str, assignment: Assignment) -> None:
        """Give the lane its next trial."""
        await self._set_assignment(self._lanes[lane_id], assignment)

    async def shunned(self) -> tuple[str, ...]:
        """Return the nodes that a new lane must not use."""
        return self._set_aside

    async def next_event(self, lane_id: str) -> LaneEvent:
        """Return what the trial's owner has to see next: a rung that was reached, or the trial's end."""
        return await self._lanes[lane_id].events.get()

    async def close_lane(self, lane_id: str) -> None:
        """Let the workers return from their loop."""
        lane = self._lanes.get(lane_id)
        if lane:
            lane.closed = True
            await lane.notify()

    # ---- the workers ------------------------------------------------------------------------------------

    async def attach(self, lane_id: str, incarnation: str, who: Attached) -> None:
        """Take in that a rank of a (new) worker group is up."""
        lane = self._lanes[lane_id]
        if incarnation != lane.incarnation:
            trial = lane.trial
            if trial and trial.to_do and trial.incarnation is not None:
                trial.lost = True
                self._later(self._say_why_lost(lane, trial, tuple(lane.ranks.values())))
            lane.incarnation, lane.ranks, lane.recycling = incarnation, {}, False
        lane.ranks[who.rank] = who
        if len(lane.ranks) == lane.world_size:
            self._post(LaneUp(lane_id, tuple(lane.ranks[rank].node for rank in sorted(lane.ranks))))
            await lane.notify()

    async def next_assignment(self, lane_id: str, incarnation: str, after: int) -> Assignment | None:
        """Return the lane's next assignment with a serial above `after`; None: leave the loop."""
        lane = self._lanes[lane_id]
        async with lane.changed:
            await lane.changed.wait_for(
                lambda: (
                    lane.closed
                    or lane.incarnation != incarnation
                    or (lane.serial > after and not lane.recycling and lane.trial and lane.trial.to_do)
                )
            )
        if lane.closed or lane.incarnation != incarnation or lane.trial is None:
            return None
        lane.trial.begin(incarnation)
        return lane.trial.assignment

    async def say(self, lane_id: str, serial: int, event: DriverEvent) -> Answer:
        """Rank 0 has something for the driver; returns the latest word from there."""
        trial = self._current(lane_id, serial)
        if trial is None:
            return STALE
        if isinstance(event, TrialStarted):
            devices = {who.device for who in self._lanes[lane_id].ranks.values()}
            event = replace(event, devices=tuple(sorted(devices)))
        self._post(event)
        return trial.stop or CONTINUE

    async def word(self, lane_id: str, serial: int) -> Answer:
        """Return the latest word from the driver to one that has nothing to say."""
        trial = self._current(lane_id, serial)
        return STALE if trial is None else trial.stop or CONTINUE

    async def say_apart(self, event: WorkerFailed | EntrypointFailed | NodeUse) -> None:
        """Take in what is of no trial: a worker that ended, code that cannot be imported, a node's use."""
        self._post(event)

    async def ask(
        self, lane_id: str, serial: int, rank: int, index: int, proposal: Answer, rung: RungReached | None
    ) -> Answer:
        """May the trial go on after its report `index`? Rank 0 settles it; the other ranks hear the same.

        Rank 0's `proposal` holds unless the driver wants a stop, or decides otherwise at the rung.
        """
        trial = self._current(lane_id, serial)
        if trial is None:
            return STALE
        settled = trial.ask(index, self._lanes[lane_id].world_size)
        if not trial.came and rank != 0:
            self._post(RanksWait(lane_id, *trial.assignment.key))
        trial.came.add(rank)
        if rank != 0:
            return await settled
        answer = proposal
        if trial.stop:
            answer = trial.stop
        elif rung is not None and not proposal.stop:
            trial.awaited = asyncio.get_running_loop().create_future()
            self._lanes[lane_id].events.put_nowait(rung)
            answer = await trial.awaited
            trial.awaited = None
        answer = replace(answer, checkpoint=proposal.checkpoint, length=proposal.length)
        if not settled.done():
            settled.set_result(answer)
        return answer

    async def of_all(
        self, lane_id: str, serial: int, rank: int, what: str, mine: Any
    ) -> dict[int, Any] | None:
        """Return what every rank has said of `what`, once all have: as that its part is stored.

        None when the attempt is no longer current (a checkpoint must not be completed).
        """
        trial = self._current(lane_id, serial)
        if trial is None:
            return None
        said = await trial.wait_for_all(what, rank, mine, self._lanes[lane_id].world_size)
        return said if self._current(lane_id, serial) is not None else None

    async def ended(self, lane_id: str, serial: int, rank: int, outcome: Outcome) -> None:
        """One rank left the trial."""
        lane = self._lanes[lane_id]
        trial = self._current(lane_id, serial)
        if trial is None:
            return
        trial.outcomes[rank] = outcome
        if len(trial.outcomes) == lane.world_size and not all(o.secondary for o in trial.outcomes.values()):
            self._end_trial(lane, joint_outcome(trial.outcomes))
        elif outcome.secondary:
            self._later(self._blame_the_group(lane, trial))
        elif outcome.state in (TrialState.FAILED, TrialState.DIVERGED):
            self._later(self._give_up_on_peers(lane, trial))

    # ---- inside -----------------------------------------------------------------------------------------

    def _at(self, cell: str, attempt: int) -> list[tuple[LaneState, LaneTrial]]:
        """Where this attempt is: at one lane, or at none."""
        lane = self._lane_of.get((cell, attempt))
        return [] if lane is None or lane.trial is None else [(lane, lane.trial)]

    def _current(self, lane_id: str, serial: int) -> LaneTrial | None:
        lane = self._lanes.get(lane_id)
        trial = lane.trial if lane else None
        if trial is None or not trial.to_do or trial.assignment.serial != serial:
            return None
        return trial

    async def _reassign(self, action: Reassign) -> None:
        lane = self._lanes.get(action.lane)
        if lane is None or lane.trial is None:
            return
        if action.assignment is not None:
            await self._set_assignment(lane, action.assignment)
        else:
            self._end_trial(lane, action.outcome or Outcome(TrialState.FAILED, Cause.INFRA))

    async def _set_assignment(self, lane: LaneState, assignment: Assignment) -> None:
        lane.serial += 1
        if lane.trial is not None and self._lane_of.get(lane.trial.assignment.key) is lane:
            del self._lane_of[lane.trial.assignment.key]
        self._lane_of[assignment.key] = lane
        lane.trial = trial = LaneTrial(replace(assignment, serial=lane.serial))
        if assignment.key in self._stops:
            self._stop(lane, trial)
        await lane.notify()

    def _stop(self, lane: LaneState, trial: LaneTrial) -> None:
        trial.stop = answer = self._stops[trial.assignment.key]
        trial.decide(answer)
        if trial.incarnation is None:
            self._end_trial(lane, Outcome(answer.state or TrialState.CANCELLED, reason=answer.reason))

    def _end_trial(self, lane: LaneState, outcome: Outcome) -> None:
        trial = lane.trial
        if trial is None or trial.ended:
            return
        trial.ended = True
        trial.release(STALE)
        if outcome.recycle:
            self._kill_group(lane)
        wall_s = time.monotonic() - trial.since
        lane.events.put_nowait(TrialEnded(lane.name, *trial.assignment.key, outcome, wall_s, self._said()))

    async def _give_up_on_peers(self, lane: LaneState, trial: LaneTrial) -> None:
        """Give up on ranks that may sit in a collective for ever: fresh workers for the next trial."""
        await asyncio.sleep(self._peers_leave_s)
        if lane.trial is trial and not trial.ended:
            missing = sorted(set(range(lane.world_size)) - set(trial.outcomes))
            outcome = joint_outcome(trial.outcomes)
            left = f"ranks {missing} did not leave the trial"
            self._end_trial(lane, replace(outcome, recycle=(*outcome.recycle, left)))

    async def _blame_the_group(self, lane: LaneState, trial: LaneTrial) -> None:
        """Only broken collectives and no rank that explains them: an infrastructure failure."""
        await asyncio.sleep(self._cause_shows_s)
        if lane.trial is trial and trial.to_do and all(o.secondary for o in trial.outcomes.values()):
            error = next(iter(trial.outcomes.values())).error or ""
            last = " ".join(error.strip().splitlines()[-1:])
            self._post(self._lose(lane, trial, f"a collective broke: {last}", FaultKind.CONNECTION))
            self._kill_group(lane)

    @staticmethod
    def _lose(
        lane: LaneState, trial: LaneTrial, message: str, fault: FaultKind = FaultKind.UNKNOWN
    ) -> GroupLost:
        trial.lost = True
        nodes = tuple(sorted({who.node for who in lane.ranks.values()}))
        return GroupLost(lane.name, *trial.assignment.key, nodes, message, fault)

    async def _say_why_lost(self, lane: LaneState, trial: LaneTrial, ranks: tuple[Attached, ...]) -> None:
        """Take in that a new worker group has attached: the one before it is gone, and somebody knows why."""
        end = await self._examine(ranks)
        who = f"rank {', '.join(map(str, end.ranks))}" if end.ranks else "a worker of the group"
        words = {FaultKind.UNKNOWN: f"{who} died", FaultKind.WORKER_KILLED: f"{who} was killed"}
        message = words.get(end.fault, f"{end.fault}: {who} is gone")
        self._post(GroupLost(lane.name, *trial.assignment.key, end.nodes, message, end.fault))

    def _kill_group(self, lane: LaneState) -> None:
        lane.recycling = True
        for who in lane.ranks.values():
            self._kill(who.handle)

    def _said(self) -> Said:
        return Said(self._taken, tuple(self._outbox))

    def _post(self, event: DriverEvent) -> None:
        self._outbox.append(event)
        self._news.set()
        if _is_urgent(event):
            self._urgent.set()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
