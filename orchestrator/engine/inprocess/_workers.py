"""A worker group as threads: each rank runs attempt after attempt until its group is closed or killed."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from orchestrator.decide.faults import FaultKind
from orchestrator.engine.attempts import Link, Rank, UserCode, WorkerKilled, described, run_attempt
from orchestrator.engine.inprocess._output import Output
from orchestrator.engine.inprocess._session import begin_worker
from orchestrator.engine.messages import (
    Answer,
    Assignment,
    Attached,
    Progress,
    RunFacts,
    RungReached,
    WorkerFailed,
)
from orchestrator.engine.place import home_of


@dataclass(frozen=True)
class Workplace:
    """What all groups of a runtime share.

    `send` begins a call of the broker; `load` finds the user's code; `at_report` is called before a report of
    a rank counts; `left` when a group has no thread any more.
    """

    facts: RunFacts
    output: Output
    send: Callable[[str, tuple[Any, ...]], Future[Any]]
    load: Callable[[], UserCode]
    at_report: Callable[[Group, Assignment, int, int], None]
    left: Callable[[Group], None]


@dataclass(eq=False)
class Group:
    """One worker group of a slot; one that is killed is followed by another with a name of its own."""

    lane: str
    node: str
    place: Workplace
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    ends: dict[int, FaultKind | None] = field(default_factory=dict)  # by rank: what ended it; None: we did
    killed_at: float | None = None

    def __post_init__(self) -> None:
        self.size = self._alive = self.place.facts.spec.resources.workers
        self.killed = threading.Event()
        self._lock, self._calls = threading.Lock(), set[Future[Any]]()
        self._same = _Same(self.size)

    def start(self) -> None:
        """Start its threads."""
        for rank in range(self.size):
            name = f"{self.lane}-{self.name}-{rank}"
            threading.Thread(target=self._serve, args=(rank,), name=name, daemon=True).start()

    def kill(self, rank: int | None = None, fault: FaultKind | None = None) -> None:
        """End all ranks: `rank` (None: each) of this fault, the others because the group ends with it."""
        with self._lock:
            if self.killed.is_set():
                return
            self.ends = {other: fault if rank in (None, other) else None for other in range(self.size)}
            self.killed_at = time.monotonic()
            self.killed.set()
            calls = list(self._calls)
        self._same.give_up()
        for call in calls:
            call.cancel()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call the broker, as long as this group lives."""
        with self._lock:
            if self.killed.is_set():
                raise WorkerKilled
            waiting = self.place.send(method, arguments)
            self._calls.add(waiting)
        try:
            return waiting.result()
        except CancelledError:
            raise WorkerKilled from None
        finally:
            with self._lock:
                self._calls.discard(waiting)

    def _serve(self, rank: int) -> None:
        try:
            self._work(rank)
        except WorkerKilled:
            self.kill()
        except BaseException as error:  # outside of a trial: somebody has to hear why
            self.place.send("say_apart", (WorkerFailed(self.lane, described(error)[1], self.node),))
            self.kill()
        finally:
            with self._lock:
                self._alive -= 1
                last = self._alive == 0
            if last:
                self.place.left(self)

    def _work(self, rank: int) -> None:
        place = self.place
        link = _Line(self, rank)
        here = Rank(rank, self.size, partial(self._same.value, rank), place.load)
        begin_worker(here.same)
        link.attach(Attached(rank, self.node, self), watches=rank == 0)
        serial = 0
        try:
            while (assignment := link.next_assignment(serial)) is not None:
                serial = assignment.serial
                link.at_report = partial(place.at_report, self, assignment, rank)
                home = home_of(place.facts, assignment)  # where others work, too: nobody changes directory
                if isinstance(place.facts.spec.entrypoint, str):
                    home.path.mkdir(parents=True, exist_ok=True)
                else:  # a command has a directory of its own for all that
                    home.open()
                with place.output.to(place.facts.storage, assignment, rank):
                    outcome = run_attempt(place.facts, assignment, link, replace(here, folder=home.path))
                if rank == 0 and self.size == 1 and home.is_over(outcome):
                    home.keep()
                link.ended(outcome)
        finally:
            link.close()


class _Line(Link):
    """A line that is cut when its group is killed, and on which faults happen."""

    def __init__(self, group: Group, rank: int) -> None:
        traced = group.place.facts.traced
        super().__init__(group.call, group.lane, rank, group.name, traced=traced)
        self.at_report: Callable[[int], None]

    def post(self, progress: Progress) -> Answer:
        self.at_report(progress.index)
        return super().post(progress)

    def ask(self, index: int, proposal: Answer, rung: RungReached | None) -> Answer:
        if self._rank != 0:
            self.at_report(index)
        return super().ask(index, proposal, rung)


class _Same:
    """Rank 0's value for every rank, as often as they ask."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)
        self._value: Any = None

    def value(self, rank: int, value: Any) -> Any:
        """Wait for all ranks; returns what rank 0 came with."""
        try:
            if rank == 0:
                self._value = value
            self._barrier.wait()
            value = self._value
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise WorkerKilled from None
        return value

    def give_up(self) -> None:
        """Let nobody wait any more."""
        self._barrier.abort()
