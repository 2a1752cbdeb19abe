"""Slots, worker groups and the broker of a study that runs in one process."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from orchestrator.decide.faults import FaultKind, GroupEnd, RankEnd, why_lost
from orchestrator.engine.attempts import UserCode, WorkerKilled
from orchestrator.engine.broker import Broker
from orchestrator.engine.capacity import ANY, ClusterPart, Node
from orchestrator.engine.conduct import Conductor
from orchestrator.engine.inprocess._faults import LOSES_ITS_GROUP, DriverKilled, Faults
from orchestrator.engine.inprocess._output import Output
from orchestrator.engine.inprocess._workers import Group, Workplace
from orchestrator.engine.messages import (
    Action,
    Assignment,
    Attached,
    LaneEvent,
    RunFacts,
    RungReached,
    Said,
    SetAside,
    TrialEnded,
)
from orchestrator.engine.runtime import Road

TURN_S = 0.02
"""How often the owner looks whether there is something to hand out."""
LEAVES_S = 0.5
"""How long a killed group's threads have to notice it, before another group takes their place."""


@dataclass(eq=False)
class _Slot:
    """Room for one worker group, and the attempt that it was handed."""

    name: str
    group: Group | None = None
    assignment: Assignment | None = None
    following: Future[None] | None = None


class InProcess:
    """The `Runtime` of one process; a context manager. Threads stand for workers, names for nodes.

    Args:
        facts: what every worker has to know.
        load: finds the user's code; called for each attempt.
        slots: worker groups that fit on one node.
        nodes: how many nodes there are.
        faults: what goes wrong, and where.
    """

    def __init__(
        self,
        facts: RunFacts,
        load: Callable[[], UserCode],
        *,
        slots: int = 1,
        nodes: int = 1,
        faults: Faults | None = None,
    ) -> None:
        self._spec, self._gpus, self._per_node = facts.spec, facts.gpus_per_worker, slots
        self._alive = {f"node-{number}": True for number in range(nodes)}
        self._set_aside: tuple[str, ...] = ()
        self._faults = faults or Faults()
        self._broker = Broker(_kill, _examine)
        self._output = Output()
        self._place = Workplace(facts, self._output, self._send, load, self._at_report, self._left)
        self._slots: dict[str, _Slot] = {}
        self._groups: set[Group] = set()  # with threads
        self._numbers = itertools.count(1)
        self._news: queue.SimpleQueue[Callable[[Road], None]] = queue.SimpleQueue()
        self._dead = threading.Event()  # the driver was killed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="orchestrator-broker", daemon=True
        )

    def __enter__(self) -> InProcess:
        with ExitStack() as stack:
            stack.enter_context(self._output)
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        for slot in self._slots.values():
            self._tell("close_lane", slot.name)
        self._leave_within(LEAVES_S)
        for group in list(self._groups):
            group.kill()
        self._leave_within(LEAVES_S)
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._stack.close()

    # ---- Runtime ----------------------------------------------------------------------------------------

    def run(self, road: Road) -> None:
        """See `Runtime`.

        Raises:
            DriverKilled: a fault said so; whatever was under way is left as it is.
        """
        while not (road.conductor.finished() and not self._busy()):
            self._hand_out(road.conductor)
            self._find_room(road.conductor.idle_lanes())
            try:
                self._news.get(timeout=TURN_S)(road)
            except queue.Empty:
                continue

    def drain(self, taken: int, timeout_s: float) -> Said:
        """See `Runtime`. A dead driver hears nothing."""
        if self._dead.is_set():
            time.sleep(timeout_s)
            return Said(taken)
        said: Said = self._send("drain", (taken, timeout_s)).result()
        return Said(taken) if self._dead.is_set() else said

    def carry_out(self, action: Action) -> None:
        """See `Runtime`."""
        if isinstance(action, SetAside):
            self._set_aside = action.nodes
        self._tell("carry_out", action)

    def nodes(self) -> list[Node]:
        """See `Runtime`: nodes on which `slots` worker groups fit."""
        workers = self._per_node * self._spec.resources.workers
        cpus = workers * self._spec.resources.cpus_per_worker
        kind = self._spec.resources.accelerator_type or ANY
        return [
            Node(name, name, cpus, workers * self._gpus, alive, kind) for name, alive in self._alive.items()
        ]

    def part(self, groups: int) -> ClusterPart | None:
        """All of it: nobody else is here."""
        del groups
        return None

    def ask_for(self, bundles: Sequence[dict[str, float]]) -> None:
        """Nothing: there is no more than there is."""

    def wake(self) -> None:
        """See `Runtime`."""
        self._tell("wake")

    # ---- faults -----------------------------------------------------------------------------------------

    def lose_node(self, node: str) -> None:
        """Take in that a node is gone, and all worker groups that run there."""
        self._alive[node] = False
        for group in list(self._groups):
            if group.node == node:
                group.kill(fault=FaultKind.NODE_LOST)

    def kill_driver(self) -> None:
        """`run` raises `DriverKilled`; from now on nothing that a worker says is heard."""
        self._dead.set()
        self._news.put(_die)
        for group in list(self._groups):
            group.kill()

    def _at_report(self, group: Group, assignment: Assignment, rank: int, report: int) -> None:
        for fault in self._faults.due(assignment, rank, report):
            if fault.what == "slow":
                time.sleep(fault.seconds)
            elif fault.what == "hang":
                self._faults.hang(group.killed)
            elif fault.what == "slot lost":
                self._news.put(partial(self._lose, self._slots[group.lane]))
                group.kill()
            elif fault.what == "node lost":
                self.lose_node(group.node)
            elif fault.what == "driver killed":
                self.kill_driver()
            else:
                group.kill(rank, LOSES_ITS_GROUP[fault.what])
        if group.killed.is_set():
            raise WorkerKilled

    # ---- the owner's thread -----------------------------------------------------------------------------

    def _busy(self) -> bool:
        return any(slot.assignment is not None for slot in self._slots.values())

    def _hand_out(self, conductor: Conductor) -> None:
        while (assignment := conductor.next_assignment()) is not None:
            slot = next((slot for slot in self._slots.values() if slot.assignment is None), None)
            if slot is None:
                slot = _Slot(f"slot-{next(self._numbers)}")
                self._slots[slot.name] = slot
                self._send("open_lane", (slot.name, self._spec.resources.workers)).result()
            slot.assignment = assignment
            slot.following = asyncio.run_coroutine_threadsafe(self._follow(slot, assignment), self._loop)

    def _find_room(self, idle: int) -> None:
        """Start groups where slots lack one and a node has room; idle slots beyond `idle` make room."""
        for slot in [slot for slot in self._slots.values() if slot.assignment is None][idle:]:
            del self._slots[slot.name]
            self._tell("close_lane", slot.name)
        for slot in self._slots.values():
            group = slot.group
            if group is not None and group in self._groups:
                late = group.killed_at is not None and time.monotonic() - group.killed_at > LEAVES_S
                if not late:
                    continue
                self._groups.discard(group)  # its threads hang in the user's code: they end when that does
            node = self._node_with_room()
            if node is not None:
                slot.group = Group(slot.name, node, self._place)
                self._groups.add(slot.group)
                slot.group.start()

    def _node_with_room(self) -> str | None:
        used = [group.node for group in list(self._groups)]
        fit = (name for name, alive in self._alive.items() if alive and name not in self._set_aside)
        return next((name for name in fit if used.count(name) < self._per_node), None)

    async def _follow(self, slot: _Slot, assignment: Assignment) -> None:
        await self._broker.take(slot.name, assignment)
        event: LaneEvent | None = None
        while event is None or isinstance(event, RungReached):
            event = await self._broker.next_event(slot.name)
            self._news.put(partial(self._hear, slot, event))

    def _hear(self, slot: _Slot, event: LaneEvent, road: Road) -> None:
        if isinstance(event, RungReached):
            self._tell("answer", event.cell, event.attempt, road.conductor.rung(event))
        elif isinstance(event, TrialEnded):
            slot.assignment = None
            road.ended(event)
        else:
            self._lose(slot, road)

    def _lose(self, slot: _Slot, road: Road) -> None:
        """Take in that the slot is gone with its group; its attempt goes elsewhere."""
        if self._slots.pop(slot.name, None) is None:
            return
        if slot.following is not None:
            slot.following.cancel()
        if slot.group is not None:
            slot.group.kill()
        self._tell("close_lane", slot.name)
        if slot.assignment is not None:
            road.lost(slot.assignment.key)

    def _left(self, group: Group) -> None:
        self._groups.discard(group)
        self._news.put(lambda _: None)  # there may be room now

    # ---- the broker's loop ------------------------------------------------------------------------------

    def _send(self, method: str, arguments: tuple[Any, ...]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(getattr(self._broker, method)(*arguments), self._loop)

    def _tell(self, method: str, *arguments: Any) -> None:
        self._send(method, arguments)

    def _leave_within(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._groups and time.monotonic() < deadline:
            try:
                self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return


def _kill(handle: Any) -> None:
    cast("Group", handle).kill()


async def _examine(ranks: Sequence[Attached]) -> GroupEnd:
    return why_lost([RankEnd(who.rank, who.node, who.handle.ends.get(who.rank)) for who in ranks])


async def _cancel_all() -> None:
    """End what still waits in the broker's loop."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _die(road: Road) -> None:
    del road
    raise DriverKilled
