"""The thread beside the runtime: takes in what workers say, shows the study, keeps its lease; and the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.engine.conduct import Conductor
from orchestrator.engine.messages import StopRequest
from orchestrator.engine.running import Listener, StudyOutcome
from orchestrator.engine.runtime import Road, Runtime
from orchestrator.errors import ExitCode, StorageUnavailable, StudyHeld
from orchestrator.record.control import take_requests
from orchestrator.record.results import results_table, write_results
from orchestrator.record.studyrecord import StudyRecord

DRAIN_S = 0.2
"""How often this thread looks at the clock while nobody says anything."""
SHOW_EVERY_S = 0.25
SHOW_SHARE, SHOW_AT_LEAST_EVERY_S = 0.02, 5.0
"""Of this thread's time that showing a large study may take: it is shown less often then, up to that."""
BEAT_EVERY_S = 2.0
CAPACITY_EVERY_S = 2.0


class Pump:
    """Works `beside` the runtime, in a thread of its own."""

    def __init__(
        self, conductor: Conductor, runtime: Runtime, record: StudyRecord, listener: Listener
    ) -> None:
        self._conductor, self._runtime, self._record, self._listener = conductor, runtime, record, listener
        self._road = Road(conductor, runtime)
        self._done = threading.Event()
        self._stop_asked: StopRequest | None = None
        self._left = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="orchestrator-pump", daemon=True)

    @contextmanager
    def beside(self) -> Iterator[Road]:
        """Work while the runtime runs in this context, on the road that is yielded."""
        self._look_at_capacity()
        self._thread.start()
        try:
            yield self._road
        finally:
            self._done.set()
            self._runtime.wake()
            self._thread.join()
            self._runtime.ask_for([])
            self._listener.update(self._conductor.snapshot())
            self._show_notes()  # of the last quarter of a second
        if self._error is not None:
            raise self._error

    def stop_soon(self, reason: str, code: ExitCode) -> None:
        """Let running trials leave at their next report. Safe in a signal handler: only sets a mark."""
        self._stop_asked = StopRequest(reason, code)

    def note(self, text: str) -> None:
        """Show a line."""
        self._listener.note(text)

    def _run(self) -> None:
        due = dict.fromkeys(("show", "beat", "capacity"), 0.0)
        try:
            while not self._done.is_set():
                self._turn(due)
            self._road.drain(0.0)
        except BaseException as error:
            self._error = error
            self._conductor.request_stop(StopRequest(f"the driver failed: {error}", ExitCode.FAILED))
            self._road.carry_out(self._conductor.leave_actions())  # nobody else will tell the running trials

    def _turn(self, due: dict[str, float]) -> None:
        conductor, now = self._conductor, time.monotonic()
        self._road.drain(DRAIN_S)
        self._road.carry_out(conductor.tick())
        if self._stop_asked and conductor.stop is None:
            conductor.request_stop(self._stop_asked)
        if conductor.stop and not self._left:
            self._left = True
            self._road.carry_out(conductor.leave_actions())
        if now >= due["show"]:
            due["show"] = now + self._show(first=not due["show"])
        if now >= due["beat"]:
            due["beat"] = now + BEAT_EVERY_S
            if conductor.lost is None:
                self._beat()
        if now >= due["capacity"]:
            due["capacity"] = now + CAPACITY_EVERY_S
            self._look_at_capacity()

    def _beat(self) -> None:
        try:
            self._record.lease.beat(self._conductor.progress())
            for asked in take_requests(self._record.storage, self._record.paths):
                self.stop_soon(f"stopped by {asked.by} (orchestrate stop)", ExitCode.INTERRUPTED)
        except (StorageUnavailable, StudyHeld) as error:
            self._conductor.storage_failed(error)

    def _look_at_capacity(self) -> None:
        part = self._runtime.part(self._conductor.could_use())
        self._runtime.ask_for(self._conductor.see(self._runtime.nodes(), part))

    def _show(self, *, first: bool) -> float:
        """Show the study; returns the seconds until the next time. The first look is no measure of it."""
        began = time.thread_time()
        self._listener.update(self._conductor.snapshot())
        self._show_notes()
        took_s = 0.0 if first else time.thread_time() - began
        return min(max(SHOW_EVERY_S, took_s / SHOW_SHARE), SHOW_AT_LEAST_EVERY_S)

    def _show_notes(self) -> None:
        for text in self._conductor.new_notes():
            self._listener.note(text)


def conclude(conductor: Conductor, record: StudyRecord) -> StudyOutcome:
    """Cancel what did not leave, and write the results of all that has ended.

    Raises:
        StorageUnavailable, StudyHeld: the record cannot be written any more.
        OrchestratorError: why the study had to stop.
    """
    if conductor.stop is not None:
        conductor.give_up_waiting()
    if conductor.lost is not None:
        raise conductor.lost
    record.lease.verify()
    write_results(record.storage, record.paths, results_table(conductor.spec, record.state))
    if conductor.stop is not None and conductor.stop.error is not None:
        raise conductor.stop.error
    root = record.storage.path(record.paths.root)
    why = () if conductor.stop is None else conductor.stop.shown
    return StudyOutcome(conductor.exit_code(), root, conductor.counts(), why)
