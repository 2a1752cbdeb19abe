"""A worker's line to the broker: calls that wait, and reports that do not."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from orchestrator.engine.attempts._nodeuse import NodeWatcher, node_use
from orchestrator.engine.messages import (
    CONTINUE,
    Answer,
    Assignment,
    Attached,
    CheckpointKept,
    DriverEvent,
    EntrypointFailed,
    NodeUse,
    Outcome,
    Progress,
    RungReached,
    SpansTold,
    TrialProgress,
    TrialStarted,
    TrialTells,
)
from orchestrator.record.spans import UNTRACED, TrialSpans, now_us

FLUSH_EVERY_S = 0.5
"""Reports of this time travel together: a message costs the same, however many it carries."""
FULL = 500
"""Reports that do not wait for it."""


class LineDown(Exception):
    """The broker cannot be reached: the driver went away."""


class WorkerKilled(BaseException):
    """In a worker that is no process of its own, in place of the signal that would end it."""


class Call(Protocol):
    """Calls a method of the broker and waits for its answer. Raises `LineDown`."""

    def __call__(self, method: str, *arguments: Any) -> Any: ...


class Link:
    """One rank's line. Reports are sent in batches by a thread; everything else is a call.

    A driver that went away takes the broker with it: calls then raise `LineDown`, the worker's loop ends and
    its process with it.

    `trace`: what this rank does, where somebody asks.
    """

    def __init__(self, call: Call, lane: str, rank: int, incarnation: str, *, traced: bool = False) -> None:
        self._call, self._lane, self._rank, self.incarnation = call, lane, rank, incarnation
        self.trace = TrialSpans(lane, rank, incarnation) if traced else UNTRACED
        self._pending: list[Progress] = []
        self._since_us = 0
        self._serial, self._trial = 0, (lane, "", 0)
        self._stop: Answer = CONTINUE
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake, self._full = threading.Event(), threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None  # of the thread, which has ended then
        self._watcher: NodeWatcher | None = None

    # ---- the loop of a lane -----------------------------------------------------------------------------

    def attach(self, who: Attached, *, watches: bool = False) -> None:
        """Say who is there. `watches`: this one tells what its node has in use, too."""
        self._call("attach", self._lane, self.incarnation, who)
        if watches:
            self._watcher = NodeWatcher(partial(node_use, who.node), self._tell_use)
            self._watcher.start()

    def next_assignment(self, after: int) -> Assignment | None:
        assignment: Assignment | None = self._call("next_assignment", self._lane, self.incarnation, after)
        if assignment is not None:
            with self._lock:
                self._serial, self._stop, self._pending = assignment.serial, CONTINUE, []
                self._error = None
                self._trial = (self._lane, *assignment.key)
        return assignment

    def entrypoint_failed(self, message: str) -> None:
        self._call("say_apart", EntrypointFailed(self._lane, message))

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._full.set()
        if self._watcher is not None:
            self._watcher.stop()
        self._wake.set()

    # ---- one trial --------------------------------------------------------------------------------------

    def started(self, resumed_step: int | None, passed_over: tuple[str, ...] = ()) -> None:
        self._say(TrialStarted(*self._trial, resumed_step, passed_over=passed_over))

    def post(self, progress: Progress) -> Answer:
        """Queue a report; returns the latest word from the driver (which may be older than the report)."""
        self.check()
        self.trace.reported(progress.index)
        with self._lock:
            if self.trace.on and not self._pending:
                self._since_us = now_us()
            self._pending.append(progress)
            first, full = len(self._pending) == 1, len(self._pending) >= FULL
            stop = self._stop
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._send_loop, name="orchestrator-reports", daemon=True)
            self._thread.start()
        if first:
            self._wake.set()
        if full:
            self._full.set()
        return stop

    def check(self) -> None:
        """Raise what the thread met that sends reports: they did not arrive."""
        if self._error is not None:
            raise self._error

    def stop_wanted(self) -> Answer:
        """Return the latest word from the driver."""
        with self._lock:
            return self._stop

    def hear(self) -> Answer:
        """Ask for the latest word from the driver, for who may have nothing to report for long.

        Who does not hear it now, because the line is down, hears it the next time.
        """
        with suppress(LineDown):
            answer: Answer = self._call("word", self._lane, self._serial)
            with self._lock:
                self._stop = answer if answer.stop else self._stop
        return self.stop_wanted()

    def ask(self, index: int, proposal: Answer, rung: RungReached | None) -> Answer:
        with self.trace.span("wait for the others" if rung is None else "wait for a decision"):
            answer: Answer = self._call("ask", self._lane, self._serial, self._rank, index, proposal, rung)
        return answer

    def of_all(self, what: str, mine: Any) -> dict[int, Any] | None:
        """Return what every rank says of `what`, once all have; None when the attempt is over."""
        said: dict[int, Any] | None = self._call("of_all", self._lane, self._serial, self._rank, what, mine)
        return said

    def checkpoint_kept(self, name: str, step: int, length: float, value: float | None) -> None:
        self._say(CheckpointKept(*self._trial, name, step, length, value))

    def tell(self, text: str) -> None:
        """Let people know something of the trial while it runs."""
        self._say(TrialTells(*self._trial, text))

    def ended(self, outcome: Outcome) -> None:
        self.flush()
        self._call("ended", self._lane, self._serial, self._rank, outcome)

    def flush(self) -> None:
        """Send what is queued and wait for the answer."""
        with self._sending:
            with self._lock:
                batch, self._pending, serial = tuple(self._pending), [], self._serial
                event = TrialProgress(*self._trial, batch, self._since_us)
            spans = self.trace.taken()
            if spans:
                self._say(SpansTold(*self._trial, spans))
            if not batch:
                return
            answer = self._call("say", self._lane, serial, event)
            with self._lock:
                if serial == self._serial and answer.stop:
                    self._stop = answer

    def _tell_use(self, use: NodeUse) -> None:
        try:
            self._call("say_apart", use)
        except (LineDown, WorkerKilled):  # the worker itself will notice
            self.close()

    def _say(self, event: DriverEvent) -> None:
        self._call("say", self._lane, self._serial, event)

    def _send_loop(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            try:
                self.flush()
            except (LineDown, WorkerKilled):
                return  # the next call of the trial's own thread says so
            except Exception as error:
                self._error = error
                return
            self._full.wait(FLUSH_EVERY_S)
            self._full.clear()
