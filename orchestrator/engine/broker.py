"""The message actor: one small async actor per study, between the driver, the trial actors and the workers.

It decides nothing. It hands assignments to the ranks of a lane, collects reports, keeps the ranks of one
trial together (rank 0's answer to a report is every rank's answer), notices worker groups that were
restarted, and drops what comes from a worker group or an attempt that is no longer current.

Calls of one caller may run in another order than they were made (Ray does not keep the order for async
actors), so no method relies on an earlier one that was not waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.decide.faults import FaultKind, GroupEnd
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.autopsy import examine
from orchestrator.engine.groups import Groups
from orchestrator.engine.joint import joint_outcome
from orchestrator.engine.lane_state import LaneState, LaneTrial, Ticket
from orchestrator.engine.messages import (
    CONTINUE,
    Answer,
    Assignment,
    Attached,
    CheckpointKept,
    DriverEvent,
    EntrypointFailed,
    GroupLost,
    LaneCondemned,
    LaneEvent,
    LaneUp,
    Outcome,
    Progress,
    RungReached,
    TrialEnded,
    TrialProgress,
    TrialStarted,
    WorkerFailed,
)

log = logging.getLogger(__name__)

# A rank that raised while its peers sit in a collective: how long the peers have to leave by themselves.
PEERS_LEAVE_S = 3.0
# A broken collective is the consequence of another rank's end: how long that one has to show itself, either
# by its own error or by a restarted worker group.
CAUSE_SHOWS_S = 30.0
STALE = Answer(stop=True, state=None, reason="this attempt is no longer current")


class Broker:
    """See the module's text. All methods run in one event loop: no locks are needed."""

    def __init__(
        self,
        kill: Callable[[Any], None] | None = None,
        peers_leave_s: float = PEERS_LEAVE_S,
        cause_shows_s: float = CAUSE_SHOWS_S,
        examine: Callable[[Sequence[Attached]], Awaitable[GroupEnd]] = examine,
    ) -> None:
        """`kill` ends a worker at once, by its handle; None: Ray does it. `examine` says why a group died."""
        self._kill, self._examine = kill or _ray_kill, examine
        self._set_aside: tuple[str, ...] = ()
        self._peers_leave_s, self._cause_shows_s = peers_leave_s, cause_shows_s
        self._lanes: dict[str, LaneState] = {}
        self._outbox: deque[DriverEvent] = deque()
        self._posted = 0
        self._news = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._tickets: dict[int, Ticket] = {}
        self._stops: dict[tuple[str, int], Answer] = {}
        self._groups = Groups()

    async def describe(self) -> list[str]:
        """Each lane in one line, for `doctor` and for tests that fail."""
        return [
            f"{name}: serial {lane.serial} ranks {sorted(lane.ranks)} closed {lane.closed} "
            f"recycling {lane.recycling} queued {lane.events.qsize()} trial {lane.trial}"
            for name, lane in self._lanes.items()
        ]

    # ---- the driver -------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> list[DriverEvent]:
        """All events since the last call; waits up to `timeout_s` for the first one."""
        if not self._outbox:
            try:
                await asyncio.wait_for(self._news.wait(), timeout_s)
            except TimeoutError:
                return []
        self._news.clear()
        events = list(self._outbox)
        self._outbox.clear()
        return events

    async def offer(self, ticket: int, assignment: Assignment) -> None:
        """What the ticket in a Tune trial's config stands for."""
        self._ticket(ticket).assignment.set_result(assignment)

    async def answer(self, cell: str, attempt: int, answer: Answer) -> None:
        """The driver's decision at a rung."""
        for lane in self._lanes.values():
            trial = lane.trial
            if trial and trial.assignment.key == (cell, attempt):
                if trial.awaited and not trial.awaited.done():
                    trial.awaited.set_result(answer)
                return

    async def stop_trial(self, cell: str, attempt: int, answer: Answer) -> None:
        """Let a trial leave at rank 0's next report; one that no worker has taken yet ends at once."""
        self._stops[cell, attempt] = answer
        for lane_id, lane in self._lanes.items():
            trial = lane.trial
            if trial and trial.assignment.key == (cell, attempt):
                await self._stop(lane_id, lane, trial)

    async def reassign(
        self, lane_id: str, assignment: Assignment | None, outcome: Outcome | None = None
    ) -> None:
        """After a lost group: the next attempt at the cell, or (None) its end with `outcome`."""
        lane = self._lanes.get(lane_id)
        if lane is None or lane.trial is None:
            return
        if assignment is None:
            await self._end_trial(lane_id, lane, outcome or Outcome(TrialState.FAILED, Cause.INFRA))
        else:
            await self._set_assignment(lane_id, lane, assignment)

    async def recycle(self, lane_id: str, cell: str, attempt: int, reason: str) -> None:
        """Kill the worker group of an attempt; Ray Train starts a fresh one, which attaches again."""
        lane = self._lanes.get(lane_id)
        if lane is None or lane.trial is None or not lane.trial.to_do:
            return
        if lane.trial.assignment.key == (cell, attempt):
            self._post(self._lose(lane_id, lane, reason))
            self._kill_group(lane)

    async def set_aside(self, nodes: tuple[str, ...], lanes: tuple[str, ...], reason: str) -> None:
        """New lanes go to none of these nodes; `lanes` end, Tune hears of it and makes new ones."""
        self._set_aside = nodes
        for lane_id in lanes:
            lane = self._lanes.get(lane_id)
            if lane is not None and not lane.closed:
                lane.events.put_nowait(LaneCondemned(lane_id, reason))

    async def actor_lost(self) -> None:
        """A trial actor died: what it held is free for the next one."""
        await self._groups.free_those_of_the_dead()

    # ---- the trial actor (Tune's side of a lane) --------------------------------------------------------

    async def take(self, lane_id: str, world_size: int, ticket: int, *, takes_over: bool = False) -> None:
        """Give the lane the trial that the ticket stands for. A new lane's workers attach later.

        Tune may ask a new trial actor for a trial, and give it to an idle lane before that actor is up:
        two lanes then come with one ticket, in any order. The idle lane (`takes_over`) has it; the new one,
        which Tune ends, gets nothing.
        """
        lane = self._lanes.setdefault(lane_id, LaneState(world_size))
        held = self._ticket(ticket)
        if held.lane is not None and not takes_over:
            return
        before, held.lane = held.lane, lane_id
        assignment = await held.assignment
        if held.lane != lane_id:
            return
        begun = before is not None and self._withdraw(self._lanes[before], assignment)
        await self._set_assignment(lane_id, lane, assignment, begun=begun)

    async def shunned(self) -> tuple[str, ...]:
        """The nodes that a new lane must not use."""
        return self._set_aside

    async def holds(self, lane_id: str, group: Any, actor: Any) -> None:
        """The placement group that the lane's trial actor has just made."""
        self._groups.hold(lane_id, group, actor)

    async def next_event(self, lane_id: str) -> LaneEvent:
        """What Tune has to see next: a rung that was reached, or the trial's end."""
        return await self._lanes[lane_id].events.get()

    async def close_lane(self, lane_id: str) -> None:
        """Let the workers return from their loop."""
        lane = self._lanes.get(lane_id)
        if lane:
            lane.closed = True
            await self._notify(lane)

    # ---- the workers ------------------------------------------------------------------------------------

    async def attach(self, lane_id: str, incarnation: str, who: Attached) -> None:
        """A rank of a (new) worker group is up."""
        lane = self._lanes[lane_id]
        if incarnation != lane.incarnation:
            trial = lane.trial
            if trial and trial.to_do and trial.incarnation is not None:
                trial.lost = True
                self._later(self._say_why_lost(lane_id, trial, tuple(lane.ranks.values())))
            lane.incarnation, lane.ranks, lane.recycling = incarnation, {}, False
        lane.ranks[who.rank] = who
        if len(lane.ranks) == lane.world_size:
            ranks = [lane.ranks[rank] for rank in sorted(lane.ranks)]
            self._post(
                LaneUp(lane_id, tuple(r.node for r in ranks), tuple(r.pid for r in ranks), incarnation)
            )
            await self._notify(lane)

    async def next_assignment(self, lane_id: str, incarnation: str, after: int) -> Assignment | None:
        """The lane's next assignment with a serial above `after`; None: leave the loop."""
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
        if lane.trial.incarnation is None:  # waiting for workers is not the trial's time
            lane.trial.incarnation, lane.trial.since = incarnation, time.monotonic()
        return lane.trial.assignment

    async def started(
        self, lane_id: str, serial: int, resumed_step: int | None, passed_over: tuple[str, ...] = ()
    ) -> None:
        """Rank 0 is about to call the user's code."""
        trial = self._current(lane_id, serial)
        if trial:
            a = trial.assignment
            devices = tuple(sorted({who.device for who in self._lanes[lane_id].ranks.values()}))
            self._post(TrialStarted(lane_id, a.cell, a.attempt, resumed_step, devices, passed_over))

    async def reports(self, lane_id: str, serial: int, batch: list[Progress]) -> Answer:
        """Reports of rank 0 that do not wait for a decision."""
        trial = self._current(lane_id, serial)
        if trial is None:
            return STALE
        a = trial.assignment
        self._post(TrialProgress(lane_id, a.cell, a.attempt, tuple(batch)))
        return trial.stop or CONTINUE

    async def ask(
        self, lane_id: str, serial: int, rank: int, index: int, proposal: Answer, rung: RungReached | None
    ) -> Answer:
        """May the trial go on after its report `index`? Rank 0 settles it; the other ranks hear the same.

        Rank 0's `proposal` holds unless the driver wants a stop, or decides otherwise at the rung.
        """
        trial = self._current(lane_id, serial)
        if trial is None:
            return STALE
        settled = trial.answers.setdefault(index, asyncio.get_running_loop().create_future())
        trial.asked[index] = trial.asked.get(index, 0) + 1
        if trial.asked[index] == self._lanes[lane_id].world_size:  # the last one: all have the future
            del trial.answers[index], trial.asked[index]
            trial.open.add(settled)
            settled.add_done_callback(trial.open.discard)
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
        answer = replace(answer, checkpoint=proposal.checkpoint)
        if not settled.done():
            settled.set_result(answer)
        return answer

    async def part_done(
        self, lane_id: str, serial: int, name: str, rank: int, files: dict[str, int]
    ) -> dict[str, int] | None:
        """One rank's part of a checkpoint is stored. Rank 0 gets the list of all files when all are done.

        Returns None when the attempt is no longer current (the checkpoint must not be completed).
        """
        trial = self._current(lane_id, serial)
        if trial is None:
            return None
        lane = self._lanes[lane_id]
        parts = trial.parts.setdefault(name, {})
        parts[rank] = files
        complete = trial.complete.setdefault(name, asyncio.Event())
        if len(parts) == lane.world_size:
            complete.set()
        if rank != 0:
            return files
        await complete.wait()
        trial.parts.pop(name, None)
        trial.complete.pop(name, None)
        if self._current(lane_id, serial) is None:
            return None
        return {file: size for part in parts.values() for file, size in part.items()}

    async def checkpoint_kept(
        self, lane_id: str, serial: int, name: str, step: int, length: float, value: float | None
    ) -> None:
        """Rank 0 wrote the manifest of a checkpoint."""
        trial = self._current(lane_id, serial)
        if trial:
            a = trial.assignment
            self._post(CheckpointKept(lane_id, a.cell, a.attempt, name, step, length, value))

    async def ended(self, lane_id: str, serial: int, rank: int, outcome: Outcome) -> None:
        """One rank left the trial."""
        lane = self._lanes[lane_id]
        trial = self._current(lane_id, serial)
        if trial is None:
            return
        trial.outcomes[rank] = outcome
        if len(trial.outcomes) == lane.world_size and not all(o.secondary for o in trial.outcomes.values()):
            await self._end_trial(lane_id, lane, joint_outcome(trial.outcomes))
        elif outcome.secondary:
            self._later(self._blame_the_group(lane_id, lane, trial))
        elif outcome.state in (TrialState.FAILED, TrialState.DIVERGED):
            self._later(self._give_up_on_peers(lane_id, lane, trial))

    async def worker_failed(self, lane_id: str, message: str, node: str = "") -> None:
        """A worker ended outside of any trial."""
        self._post(WorkerFailed(lane_id, message, node))

    async def entrypoint_failed(self, lane_id: str, message: str) -> None:
        """The user's module does not import on a worker."""
        self._post(EntrypointFailed(lane_id, message))

    # ---- inside -----------------------------------------------------------------------------------------

    def _ticket(self, ticket: int) -> Ticket:
        if ticket not in self._tickets:
            self._tickets[ticket] = Ticket(asyncio.get_running_loop().create_future())
        return self._tickets[ticket]

    def _withdraw(self, lane: LaneState, assignment: Assignment) -> bool:
        """Take a trial from a lane that Tune ends; returns whether its workers had begun with it."""
        trial = lane.trial
        if trial is None or trial.assignment.key != assignment.key:
            return False
        trial.lost = True
        if trial.incarnation is None:
            return False
        self._kill_group(lane)
        return True

    def _current(self, lane_id: str, serial: int) -> LaneTrial | None:
        lane = self._lanes.get(lane_id)
        trial = lane.trial if lane else None
        if trial is None or not trial.to_do or trial.assignment.serial != serial:
            return None
        return trial

    async def _set_assignment(
        self, lane_id: str, lane: LaneState, assignment: Assignment, begun: bool = False
    ) -> None:
        """`begun`: other workers began with this attempt, so the driver has to give the next one."""
        lane.serial += 1
        lane.trial = trial = LaneTrial(replace(assignment, serial=lane.serial), time.monotonic())
        if assignment.key in self._stops:
            await self._stop(lane_id, lane, trial)
        elif begun:
            trial.lost = True
            moved = "Tune moved the trial to another lane"
            self._post(GroupLost(lane_id, *assignment.key, (), moved, FaultKind.MOVED))
        await self._notify(lane)

    async def _stop(self, lane_id: str, lane: LaneState, trial: LaneTrial) -> None:
        answer = self._stops[trial.assignment.key]
        trial.stop = answer
        if trial.awaited and not trial.awaited.done():
            trial.awaited.set_result(answer)
        if trial.incarnation is None:
            await self._end_trial(
                lane_id, lane, Outcome(answer.state or TrialState.CANCELLED, reason=answer.reason)
            )

    async def _end_trial(self, lane_id: str, lane: LaneState, outcome: Outcome) -> None:
        trial = lane.trial
        if trial is None or trial.ended:
            return
        trial.ended = True
        if trial.awaited and not trial.awaited.done():
            trial.awaited.set_result(STALE)
        for settled in (*trial.answers.values(), *trial.open):
            if not settled.done():
                settled.set_result(STALE)
        for complete in trial.complete.values():
            complete.set()
        if outcome.recycle:
            self._kill_group(lane)
        a = trial.assignment
        wall_s = time.monotonic() - trial.since
        lane.events.put_nowait(TrialEnded(lane_id, a.cell, a.attempt, outcome, wall_s, self._posted))

    async def _give_up_on_peers(self, lane_id: str, lane: LaneState, trial: LaneTrial) -> None:
        """The other ranks may sit in a collective that never ends: fresh workers for the next trial."""
        await asyncio.sleep(self._peers_leave_s)
        if lane.trial is trial and not trial.ended:
            missing = sorted(set(range(lane.world_size)) - set(trial.outcomes))
            outcome = joint_outcome(trial.outcomes)
            await self._end_trial(
                lane_id,
                lane,
                replace(outcome, recycle=(*outcome.recycle, f"ranks {missing} did not leave the trial")),
            )

    async def _blame_the_group(self, lane_id: str, lane: LaneState, trial: LaneTrial) -> None:
        """Only broken collectives and no rank that explains them: an infrastructure failure."""
        await asyncio.sleep(self._cause_shows_s)
        if lane.trial is trial and trial.to_do and all(o.secondary for o in trial.outcomes.values()):
            error = next(iter(trial.outcomes.values())).error or ""
            last = " ".join(error.strip().splitlines()[-1:])
            self._post(self._lose(lane_id, lane, f"a collective broke: {last}", FaultKind.CONNECTION))
            self._kill_group(lane)

    @staticmethod
    def _lose(lane_id: str, lane: LaneState, message: str, fault: FaultKind = FaultKind.UNKNOWN) -> GroupLost:
        trial = lane.trial
        assert trial is not None
        trial.lost = True
        nodes = tuple(sorted({who.node for who in lane.ranks.values()}))
        return GroupLost(lane_id, *trial.assignment.key, nodes, message, fault)

    async def _say_why_lost(self, lane_id: str, trial: LaneTrial, ranks: tuple[Attached, ...]) -> None:
        """A new worker group has attached: the one before it is gone, and Ray knows why."""
        end = await self._examine(ranks)
        who = f"rank {', '.join(map(str, end.ranks))}" if end.ranks else "a worker of the group"
        words = {FaultKind.UNKNOWN: f"{who} died", FaultKind.WORKER_KILLED: f"{who} was killed"}
        message = words.get(end.fault, f"{end.fault}: {who} is gone")
        self._post(GroupLost(lane_id, *trial.assignment.key, end.nodes, message, end.fault))

    def _kill_group(self, lane: LaneState) -> None:
        lane.recycling = True
        for who in lane.ranks.values():
            self._kill(who.handle)

    def _post(self, event: DriverEvent) -> None:
        self._outbox.append(event)
        self._posted += 1
        self._news.set()

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    @staticmethod
    async def _notify(lane: LaneState) -> None:
        async with lane.changed:
            lane.changed.notify_all()


def _ray_kill(handle: Any) -> None:
    import ray

    ray.kill(handle, no_restart=True)
