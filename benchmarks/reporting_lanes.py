"""Lanes that only report: a runtime whose workers are coroutines, for what the driver costs with many.

Broker, conductor, pump and record are the product's own. The workers live in a thread and an event loop of
their own, as on Ray they live in other processes: what they take is told apart by the thread's clock.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.decide.faults import FaultKind, GroupEnd
from orchestrator.decide.rungs import highest_rung
from orchestrator.decide.states import TrialState
from orchestrator.engine.broker import Broker
from orchestrator.engine.capacity import ClusterPart, Node
from orchestrator.engine.conduct import Conductor
from orchestrator.engine.messages import (
    CONTINUE,
    Action,
    Answer,
    Assignment,
    Attached,
    LaneEvent,
    Outcome,
    Progress,
    RungReached,
    Said,
    TrialEnded,
    TrialProgress,
    TrialStarted,
)
from orchestrator.engine.runtime import Road

POLL_S = 0.1
"""How often the owner looks for something to hand out, as Tune's loop does."""
NODE = "node-0"


@dataclass
class Counts:
    """What lanes have done so far. `decisions_s`: how long each decision at a rung was waited for."""

    reports: int = 0
    trials: int = 0
    late_s: float = 0.0
    decisions_s: list[float] = field(default_factory=list)


class ReportingLanes:
    """The `Runtime`, a context manager. Each of `lanes` trials at a time reports every `every_s` seconds."""

    def __init__(self, lanes: int, every_s: float) -> None:
        self.counts = Counts()
        self._lanes, self._every_s = lanes, every_s
        self._broker = Broker(_nothing, _examine)
        self._free = [f"lane-{number}" for number in reversed(range(lanes))]
        self._busy = 0
        self._news: queue.SimpleQueue[Callable[[Road], None]] = queue.SimpleQueue()
        self._broker_loop, self._worker_loop = asyncio.new_event_loop(), asyncio.new_event_loop()
        self.threads = {
            "message path": threading.Thread(target=self._broker_loop.run_forever, name="broker"),
            "lanes": threading.Thread(target=self._worker_loop.run_forever, name="lanes"),
        }
        self._workers: list[Future[None]] = []

    def __enter__(self) -> ReportingLanes:
        for thread in self.threads.values():
            thread.start()
        for name in reversed(self._free):
            self._call(self._broker.open_lane(name, 1)).result()
            working = asyncio.run_coroutine_threadsafe(self._work(name), self._worker_loop)
            self._workers.append(working)
        return self

    def __exit__(self, *_: object) -> None:
        for lane in range(self._lanes):
            self._call(self._broker.close_lane(f"lane-{lane}"))
        for working in self._workers:
            working.result()
        for loop, thread in zip(
            (self._worker_loop, self._broker_loop), reversed(self.threads.values()), strict=True
        ):
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    # ---- Runtime ----------------------------------------------------------------------------------------

    def run(self, road: Road) -> None:
        """See `Runtime`."""
        while not (road.conductor.finished() and not self._busy):
            self._hand_out(road.conductor)
            try:
                self._news.get(timeout=POLL_S)(road)
                while True:
                    self._news.get_nowait()(road)
            except queue.Empty:
                continue

    def drain(self, taken: int, timeout_s: float) -> Said:
        """See `Runtime`."""
        said: Said = self._call(self._broker.drain(taken, timeout_s)).result()
        return said

    def carry_out(self, action: Action) -> None:
        """See `Runtime`."""
        self._call(self._broker.carry_out(action))

    def nodes(self) -> list[Node]:
        """One machine, on which all of them fit."""
        return [Node(NODE, NODE, float(self._lanes), 0.0)]

    def part(self, groups: int) -> ClusterPart | None:
        """All of it."""
        del groups
        return None

    def ask_for(self, bundles: Sequence[dict[str, float]]) -> None:
        """Nothing."""

    def wake(self) -> None:
        """See `Runtime`."""
        self._call(self._broker.wake())

    # ---- the owner's side, as Tune's -----------------------------------------------------------------------

    def _hand_out(self, conductor: Conductor) -> None:
        while self._free and (assignment := conductor.next_assignment()) is not None:
            self._busy += 1
            lane = self._free.pop()
            self._call(self._follow(lane, assignment))

    async def _follow(self, lane: str, assignment: Assignment) -> None:
        await self._broker.take(lane, assignment)
        event: LaneEvent | None = None
        while event is None or isinstance(event, RungReached):
            event = await self._broker.next_event(lane)
            self._news.put(partial(self._hear, lane, event))

    def _hear(self, lane: str, event: LaneEvent, road: Road) -> None:
        if isinstance(event, RungReached):
            self._call(self._broker.answer(event.cell, event.attempt, road.conductor.rung(event)))
        elif isinstance(event, TrialEnded):
            self._free.append(lane)
            self._busy -= 1
            road.ended(event)
        else:
            raise TypeError(f"no lane was to be given up: {event}")

    def _call(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._broker_loop)

    # ---- the workers' side -------------------------------------------------------------------------------

    async def _ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(self._call(work))

    async def _work(self, lane: str) -> None:
        await self._ask(self._broker.attach(lane, lane, Attached(0, NODE, None)))
        serial = 0
        while (assignment := await self._ask(self._broker.next_assignment(lane, lane, serial))) is not None:
            serial = assignment.serial
            outcome = await self._try(lane, assignment)
            await self._ask(self._broker.ended(lane, serial, 0, outcome))
            self.counts.trials += 1

    async def _try(self, lane: str, assignment: Assignment) -> Outcome:
        """Report until the trial is told to leave, or is at its full length."""
        who, serial = (lane, *assignment.key), assignment.serial
        await self._ask(self._broker.say(lane, serial, TrialStarted(*who, None)))
        drawn = random.Random(assignment.cell)
        quality, length, full = drawn.random(), 0, int(assignment.config["max_length"])
        began = time.monotonic() + self._every_s * drawn.random()
        answer = CONTINUE
        while not answer.stop and length < full:
            length += 1
            due = began + length * self._every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.counts.late_s = max(self.counts.late_s, time.monotonic() - due)
            value = quality + drawn.random() / length
            row = {"score": value, "loss": 1 - value, "epoch": length, "lr": 0.1}
            report = Progress(length, float(length), value, length * self._every_s, row)
            answer = await self._ask(self._broker.say(lane, serial, TrialProgress(*who, (report,))))
            self.counts.reports += 1
            if not answer.stop and highest_rung(assignment.rungs, length, length - 1) is not None:
                answer = await self._at_rung(lane, assignment, length, value, row)
        state = answer.state or TrialState.CANCELLED if answer.stop else TrialState.DONE
        return Outcome(state, reason=answer.reason, length=float(length), value=value)

    async def _at_rung(
        self, lane: str, assignment: Assignment, length: int, value: float, row: dict[str, Any]
    ) -> Answer:
        rung = RungReached(*assignment.key, length, float(length), value, value, {"score": row["score"]})
        asked = time.perf_counter()
        proposal = Answer(False, length=float(length))
        answer: Answer = await self._ask(self._broker.ask(lane, assignment.serial, 0, length, proposal, rung))
        self.counts.decisions_s.append(time.perf_counter() - asked)
        return answer


def _nothing(handle: Any) -> None:
    """There is no process to end."""


async def _examine(ranks: Sequence[Attached]) -> GroupEnd:
    del ranks
    return GroupEnd(FaultKind.UNKNOWN, ())
