"""The thread beside Tune: takes what the message actor has and carries out what the conductor makes of it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

import ray

from orchestrator.engine import cluster
from orchestrator.engine.actions import Action, Reassign, Recycle, SetAside, StopRequest
from orchestrator.engine.api import Listener
from orchestrator.engine.conductor import Conductor
from orchestrator.errors import ExitCode, StorageUnavailable, StudyHeld
from orchestrator.record.control import take_requests
from orchestrator.record.studyrecord import StudyRecord

DRAIN_S = 0.2
SHOW_EVERY_S = 0.25
BEAT_EVERY_S = 2.0
CAPACITY_EVERY_S = 2.0


class Pump:
    """Runs while Tune runs; a context manager."""

    def __init__(
        self,
        conductor: Conductor,
        broker: Any,
        record: StudyRecord,
        listener: Listener,
        *,
        grows: bool = False,
        kept_cpus: float = 0.0,
    ) -> None:
        """`grows`: a cluster that may add nodes when it is asked to; `kept_cpus` of each node stay free."""
        self._conductor, self._broker, self._record, self._listener = conductor, broker, record, listener
        self._grows, self._kept_cpus = grows, kept_cpus
        self._done = threading.Event()
        self._stop_asked: StopRequest | None = None
        self._left = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="orchestrator-pump", daemon=True)

    def __enter__(self) -> Pump:
        self._look_at_capacity()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if self._grows:
            with suppress(ray.exceptions.RayError, ConnectionError):
                cluster.ask_for([])
        self._listener.update(self._conductor.snapshot())
        self._show_notes()  # of the last quarter of a second
        if self._error is not None and error is None:
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
            self._carry_out(self._conductor.take(ray.get(self._broker.drain.remote(0.0))))
        except BaseException as error:
            self._error = error
            self._conductor.request_stop(StopRequest(f"the driver failed: {error}", ExitCode.FAILED))
            self._carry_out(self._conductor.leave_actions())  # nobody else will tell the running trials

    def _turn(self, due: dict[str, float]) -> None:
        conductor, now = self._conductor, time.monotonic()
        self._carry_out(conductor.take(ray.get(self._broker.drain.remote(DRAIN_S))))
        self._carry_out(conductor.tick())
        if self._stop_asked and conductor.stop is None:
            conductor.request_stop(self._stop_asked)
        if conductor.stop and not self._left:
            self._left = True
            self._carry_out(conductor.leave_actions())
        if now >= due["show"]:
            due["show"] = now + SHOW_EVERY_S
            self._listener.update(conductor.snapshot())
            self._show_notes()
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
            for request in take_requests(self._record.storage, self._record.paths):
                self.stop_soon(f"stopped by {request.by} (orchestrate {request.kind})", ExitCode.INTERRUPTED)
        except (StorageUnavailable, StudyHeld) as error:
            self._conductor.storage_failed(error)

    def _look_at_capacity(self) -> None:
        bundles = self._conductor.see(cluster.nodes(self._kept_cpus))
        if self._grows:
            cluster.ask_for(bundles)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Reassign):
                self._broker.reassign.remote(action.lane, action.assignment, action.outcome)
            elif isinstance(action, Recycle):
                self._broker.recycle.remote(action.lane, action.cell, action.attempt, action.reason)
            elif isinstance(action, SetAside):
                self._broker.set_aside.remote(action.nodes, action.lanes, action.reason)
            else:
                self._broker.stop_trial.remote(action.cell, action.attempt, action.answer)

    def _show_notes(self) -> None:
        for text in self._conductor.new_notes():
            self._listener.note(text)
