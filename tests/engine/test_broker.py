"""The message actor as a plain object: what ranks, trial actor and driver hear of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from orchestrator.decide.faults import FaultKind, GroupEnd
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.broker._broker import STALE, Broker
from orchestrator.engine.messages import (
    CONTINUE,
    Answer,
    Assignment,
    Attached,
    GroupLost,
    LaneUp,
    Outcome,
    Progress,
    RanksWait,
    Reassign,
    Recycle,
    RungReached,
    StopTrial,
    TrialEnded,
    TrialProgress,
    TrialStarted,
    WorkerFailed,
)

STOP = Answer(True, TrialState.CANCELLED, "stopped")
DONE = Outcome(TrialState.DONE, length=9, value=0.5)
USER = Outcome(TrialState.FAILED, Cause.USER, "ValueError")
BROKEN = Outcome(TrialState.FAILED, Cause.USER, "gloo", "Connection closed by peer", secondary=True)


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**given: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**given), 20))

    return run


def assignment(cell: str = "c", attempt: int = 1) -> Assignment:
    return Assignment(cell, "baseline", 0, attempt, {}, {}, "trials/x")


def progress(index: int) -> Progress:
    return Progress(index, index, 0.5, index, {"loss": 0.5})


def reported(*reports: Progress) -> TrialProgress:
    return TrialProgress("lane", "c", 1, reports)


def rung() -> RungReached:
    return RungReached("c", 1, 1.0, 1.0, 0.5, 0.5, {})


@dataclass
class Scene:
    """A message actor with one lane."""

    broker: Broker
    killed: list[Any]
    size: int
    taken: int = 0
    opened: bool = False

    @classmethod
    async def up(cls, size: int = 1, patience_s: float = 0.01) -> Scene:
        """The lane has the assignment `c`, its workers are attached, and every rank has taken it."""
        killed: list[Any] = []
        scene = cls(Broker(killed.append, unknown, patience_s, patience_s), killed, size)
        await scene.give(assignment())
        await scene.group("first")
        assert [await scene.next("first", 0) for _ in range(size)] == [1] * size
        return scene

    async def give(self, what: Assignment) -> None:
        if not self.opened:
            self.opened = True
            await self.broker.open_lane("lane", self.size)
        await self.broker.take("lane", what)

    async def group(self, name: str) -> None:
        for rank in range(self.size):
            await self.broker.attach("lane", name, Attached(rank, "node", f"{name}-{rank}"))

    async def next(self, group: str, after: int) -> int | None:
        found = await self.broker.next_assignment("lane", group, after)
        return None if found is None else found.serial

    def ask(self, rank: int, index: int, at: RungReached | None = None) -> asyncio.Future[Answer]:
        name = f"step-{index}" if rank == 0 else None
        return asyncio.ensure_future(
            self.broker.ask("lane", 1, rank, index, Answer(False, checkpoint=name), at)
        )

    async def end(self, outcome: Outcome, rank: int = 0, serial: int = 1) -> None:
        await self.broker.ended("lane", serial, rank, outcome)

    async def ended(self) -> TrialEnded:
        event = await self.broker.next_event("lane")
        assert isinstance(event, TrialEnded)
        return event

    async def drain(self, timeout_s: float = 0.0) -> tuple[Any, ...]:
        said = await self.broker.drain(self.taken, timeout_s)
        assert said.first == self.taken
        self.taken += len(said.events)
        return said.events

    async def news(self, kind: type) -> list[Any]:
        return [event for event in await self.drain() if isinstance(event, kind)]

    async def lost(self) -> GroupLost:
        """What is said when it is known why the group was lost."""
        while True:
            for event in await self.drain(10.0):
                if isinstance(event, GroupLost):
                    return event


async def unknown(ranks: Sequence[Attached]) -> GroupEnd:
    return GroupEnd(FaultKind.UNKNOWN, tuple(sorted({who.node for who in ranks})))


@in_a_loop
async def test_a_trial_from_its_assignment_to_its_end() -> None:
    scene = await Scene.up()
    assert await scene.news(LaneUp) == [LaneUp("lane", ("node",))]
    assert await scene.broker.say("lane", 1, reported(progress(1), progress(2))) == CONTINUE
    asked = scene.ask(0, 3, rung())
    assert await scene.broker.next_event("lane") == rung()
    assert not asked.done()
    await scene.broker.answer("c", 1, Answer(True, TrialState.STOPPED, "worse"))
    assert await asked == Answer(True, TrialState.STOPPED, "worse", "step-3")
    await scene.end(DONE)
    event = await scene.ended()
    assert (event.cell, event.attempt, event.outcome) == ("c", 1, DONE)
    (heard,) = await scene.news(TrialProgress)
    assert event.said.events[-1] == heard  # what the driver may not have taken in travels with the end
    assert heard.reports == (progress(1), progress(2))
    assert await scene.broker.say("lane", 1, reported(progress(4))) == STALE
    assert await scene.news(TrialProgress) == []
    assert scene.killed == []


@in_a_loop
async def test_the_start_of_a_trial_names_what_its_ranks_compute_on() -> None:
    scene = Scene(Broker(lambda _: None, unknown), [], 3)
    await scene.give(assignment())
    for rank, device in enumerate(("H100", "A100", "H100")):
        await scene.broker.attach("lane", "first", Attached(rank, "node", None, device))
    await scene.next("first", 0)
    await scene.broker.say("lane", 1, TrialStarted("lane", "c", 1, 40))
    (started,) = await scene.news(TrialStarted)
    assert (started.devices, started.resumed_step) == (("A100", "H100"), 40)


@in_a_loop
async def test_all_ranks_hear_what_rank_0_hears_in_any_order() -> None:
    scene = await Scene.up(size=3)
    early = scene.ask(2, 1, None)
    lead = scene.ask(0, 1, rung())
    assert await scene.broker.next_event("lane") == rung()
    await scene.broker.answer("c", 1, STOP)
    expected = Answer(True, TrialState.CANCELLED, "stopped", "step-1")
    assert await early == await lead == await scene.ask(1, 1) == expected


@in_a_loop
async def test_a_rank_may_be_far_behind() -> None:
    scene = await Scene.up(size=2)
    for index in range(1, 200):
        assert (await scene.ask(0, index)).checkpoint == f"step-{index}"
    for index in range(1, 200):
        assert (await scene.ask(1, index)).checkpoint == f"step-{index}"


@in_a_loop
async def test_a_rank_that_is_ahead_is_let_go_when_the_trial_ends() -> None:
    scene = await Scene.up(size=2)
    waiting = scene.ask(1, 1)
    lead = scene.ask(0, 1, rung())
    await scene.broker.next_event("lane")
    await scene.end(USER, rank=1)
    event = await scene.ended()
    assert event.outcome.cause is Cause.USER
    assert await waiting == STALE
    assert (await lead).stop


@in_a_loop
async def test_a_stop_reaches_a_trial_at_its_next_report_and_at_a_rung() -> None:
    scene = await Scene.up()
    asked = scene.ask(0, 1, rung())
    await scene.broker.next_event("lane")
    await scene.broker.carry_out(StopTrial("c", 1, STOP))
    assert (await asked).state is TrialState.CANCELLED
    assert await scene.broker.say("lane", 1, reported(progress(2))) == STOP
    await scene.broker.answer("c", 1, CONTINUE)  # too late, and harmless


@in_a_loop
async def test_a_stop_that_comes_before_the_workers_ends_the_trial_at_once() -> None:
    broker = Broker(lambda _: None, unknown)
    scene = Scene(broker, [], 1)
    await scene.give(assignment())
    await broker.carry_out(StopTrial("c", 1, STOP))
    assert (await scene.ended()).outcome.state is TrialState.CANCELLED
    await broker.carry_out(StopTrial("d", 1, STOP))  # and before its assignment
    await scene.give(assignment("d"))
    assert (await scene.ended()).cell == "d"


@in_a_loop
async def test_what_was_said_is_kept_until_it_has_been_taken_in() -> None:
    scene = await Scene.up()
    await scene.broker.say("lane", 1, reported(progress(1)))
    first = await scene.broker.drain(0, 0.0)
    assert await scene.broker.drain(0, 0.0) == first  # the answer was lost, or is still under way
    await scene.broker.say("lane", 1, reported(progress(2)))
    await scene.end(DONE)
    assert (await scene.ended()).said.events[: len(first.events)] == first.events
    (new,) = (await scene.broker.drain(len(first.events), 0.0)).events
    assert new.reports == (progress(2),)


@in_a_loop
async def test_a_new_group_means_that_the_old_one_was_lost() -> None:
    scene = await Scene.up()
    await scene.group("second")
    event = await scene.lost()
    assert (event.cell, event.attempt, event.nodes) == ("c", 1, ("node",))
    assert await scene.next("first", 1) is None  # whoever is left of the first group leaves
    assert await scene.broker.say("lane", 1, reported(progress(1))) == STALE
    waiting = asyncio.ensure_future(scene.next("second", 0))
    await scene.broker.carry_out(Reassign("lane", assignment(attempt=2)))
    assert await waiting == 2
    await scene.end(DONE, serial=1)  # late, from the first group
    await scene.end(DONE, serial=2)
    event = await scene.ended()
    assert (event.attempt, event.outcome) == (2, DONE)


@in_a_loop
async def test_a_lost_trial_that_is_given_up_ends_as_the_driver_says() -> None:
    scene = await Scene.up()
    await scene.group("second")
    await scene.broker.carry_out(Reassign("lane", None, Outcome(TrialState.FAILED, Cause.HANG, "silent")))
    assert (await scene.ended()).outcome.cause is Cause.HANG


@in_a_loop
async def test_that_ranks_wait_for_rank_0_at_their_first_report_is_said_once() -> None:
    scene = await Scene.up(size=3)
    waiting = [scene.ask(rank, 1) for rank in (1, 2)]
    await asyncio.sleep(0)
    assert await scene.news(RanksWait) == [RanksWait("lane", "c", 1)]
    await scene.broker.carry_out(Recycle("lane", "c", 1, "no report for 11 s"))
    (event,) = await scene.news(GroupLost)
    assert event.message == (
        "no report for 11 s; other ranks wait at report 1 for rank 0: every rank has to make every report"
    )
    for one in waiting:
        one.cancel()
    scene = await Scene.up(size=3)
    await asyncio.gather(*(scene.ask(rank, 1) for rank in (0, 2, 1)))
    assert await scene.news(RanksWait) == []


@in_a_loop
async def test_recycling_hits_the_attempt_that_was_meant_only() -> None:
    scene = await Scene.up(size=2)
    await scene.broker.carry_out(Recycle("lane", "c", 2, "hang"))
    await scene.broker.carry_out(Recycle("lane", "other", 1, "hang"))
    await scene.broker.carry_out(Recycle("no such lane", "c", 1, "hang"))
    assert scene.killed == []
    await scene.broker.carry_out(Recycle("lane", "c", 1, "hang"))
    assert scene.killed == ["first-0", "first-1"]
    (event,) = await scene.news(GroupLost)
    assert event.message == "hang"
    await scene.broker.carry_out(Recycle("lane", "c", 1, "hang"))  # it is lost already
    assert len(scene.killed) == 2
    await scene.group("second")
    assert await scene.news(GroupLost) == []  # the loss is known


@in_a_loop
async def test_a_rank_that_raises_does_not_wait_for_peers_in_a_collective() -> None:
    scene = await Scene.up(size=2)
    await scene.end(USER, rank=1)
    event = await scene.ended()
    assert event.outcome.cause is Cause.USER
    assert event.outcome.recycle == ("ranks [0] did not leave the trial",)
    assert scene.killed == ["first-0", "first-1"]
    await scene.give(assignment("d"))
    waiting = asyncio.ensure_future(scene.next("first", 1))  # the workers that are being killed get nothing
    await asyncio.sleep(0)
    assert not waiting.done()
    await scene.group("second")
    assert await waiting is None
    assert await scene.next("second", 0) == 2


@in_a_loop
async def test_a_broken_collective_alone_is_the_infrastructures_fault() -> None:
    scene = await Scene.up(size=2)
    await scene.end(BROKEN, rank=0)
    await asyncio.sleep(0.05)
    (event,) = await scene.news(GroupLost)
    assert "Connection closed by peer" in event.message
    assert scene.killed == ["first-0", "first-1"]


@in_a_loop
async def test_a_broken_collective_gives_way_to_the_error_that_broke_it() -> None:
    scene = await Scene.up(size=2, patience_s=5)
    await scene.end(BROKEN, rank=0)
    await scene.end(USER, rank=1)
    event = await scene.ended()
    assert (event.outcome.cause, event.outcome.reason) == (Cause.USER, "ValueError")
    assert scene.killed == []


@in_a_loop
async def test_the_worst_outcome_counts_with_rank_0s_numbers_and_all_leftovers() -> None:
    scene = await Scene.up(size=2)
    await scene.end(Outcome(TrialState.DONE, length=9, value=0.5, recycle=("a thread",)), rank=0)
    await scene.end(Outcome(TrialState.FAILED, Cause.OOM, "memory", length=8, recycle=("a child",)), rank=1)
    outcome = (await scene.ended()).outcome
    assert (outcome.state, outcome.cause, outcome.length, outcome.value) == ("failed", "oom", 9, 0.5)
    assert outcome.recycle == ("rank 0: a thread", "rank 1: a child")
    assert len(scene.killed) == 2


@in_a_loop
async def test_a_checkpoint_is_complete_when_every_rank_has_stored_its_part() -> None:
    scene = await Scene.up(size=2)
    for said in ("first", "again"):
        lead = asyncio.ensure_future(scene.broker.of_all("lane", 1, 0, "step-1", said))
        await asyncio.sleep(0)
        assert not lead.done()
        assert await scene.broker.of_all("lane", 1, 1, "step-1", 5) == {0: said, 1: 5}
        assert await lead == {0: said, 1: 5}
    late = asyncio.ensure_future(scene.broker.of_all("lane", 1, 0, "step-2", "mine"))
    await asyncio.sleep(0)
    await scene.end(USER, rank=1)
    assert await late is None  # the trial is over: no manifest may be written
    assert await scene.broker.of_all("lane", 1, 0, "step-3", None) is None


@in_a_loop
async def test_a_closed_lane_lets_its_workers_go() -> None:
    scene = await Scene.up()
    waiting = asyncio.ensure_future(scene.next("first", 1))
    await asyncio.sleep(0)
    await scene.broker.close_lane("lane")
    assert await waiting is None


@in_a_loop
async def test_reports_travel_together_and_what_calls_for_an_answer_at_once() -> None:
    scene = await Scene.up()
    await scene.drain()
    assert await scene.drain(0.01) == ()
    waiting = asyncio.ensure_future(scene.drain(0.01))
    await asyncio.sleep(0)
    await scene.broker.say("lane", 1, reported(progress(1)))
    await scene.broker.say("lane", 1, reported(progress(2)))
    assert len(await waiting) == 2  # its time was over
    waiting = asyncio.ensure_future(scene.drain(10.0))
    await asyncio.sleep(0)
    await scene.broker.say("lane", 1, reported(progress(3)))
    await scene.broker.say_apart(WorkerFailed("lane", "no module"))
    assert len(await waiting) == 2
    waiting = asyncio.ensure_future(scene.drain(10.0))
    await asyncio.sleep(0)
    await scene.broker.wake()
    assert await waiting == ()
    assert await scene.drain(10.0) == ()  # the study is over: nobody waits any more
