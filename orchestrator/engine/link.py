"""A worker's line to the message actor: calls that wait, and reports that do not."""

from __future__ import annotations

import threading
import time
from typing import Any

import ray

from orchestrator.engine.messages import (
    CONTINUE,
    Answer,
    Assignment,
    Attached,
    Outcome,
    Progress,
    RungReached,
)

FLUSH_EVERY_S = 0.05


class Link:
    """One rank's line. Reports are sent in batches by a thread; everything else is a call.

    A driver that went away takes the message actor with it: calls then raise `ray.exceptions.RayActorError`,
    the worker's loop ends and Ray ends the process.
    """

    def __init__(self, broker: Any, lane: str, rank: int, incarnation: str) -> None:
        self._broker = broker
        self._lane = lane
        self._rank = rank
        self.incarnation = incarnation
        self._pending: list[Progress] = []
        self._serial = 0
        self._stop: Answer = CONTINUE
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._send_loop, name="orchestrator-reports", daemon=True)
        self._thread.start()

    # ---- the loop of a lane -----------------------------------------------------------------------------

    def attach(self, who: Attached) -> None:
        ray.get(self._broker.attach.remote(self._lane, self.incarnation, who))

    def next_assignment(self, after: int) -> Assignment | None:
        assignment: Assignment | None = ray.get(
            self._broker.next_assignment.remote(self._lane, self.incarnation, after)
        )
        if assignment is not None:
            with self._lock:
                self._serial, self._stop, self._pending = assignment.serial, CONTINUE, []
        return assignment

    def entrypoint_failed(self, message: str) -> None:
        ray.get(self._broker.entrypoint_failed.remote(self._lane, message))

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    # ---- a trial ----------------------------------------------------------------------------------------

    def started(self, resumed_step: int | None, passed_over: tuple[str, ...] = ()) -> None:
        ray.get(self._broker.started.remote(self._lane, self._serial, resumed_step, passed_over))

    def post(self, progress: Progress) -> Answer:
        """Queue a report; returns the latest word from the driver (which may be older than the report)."""
        with self._lock:
            self._pending.append(progress)
            stop = self._stop
        self._wake.set()
        return stop

    def stop_wanted(self) -> Answer:
        """The latest word from the driver."""
        with self._lock:
            return self._stop

    def ask(self, index: int, proposal: Answer, rung: RungReached | None) -> Answer:
        answer: Answer = ray.get(
            self._broker.ask.remote(self._lane, self._serial, self._rank, index, proposal, rung)
        )
        return answer

    def part_done(self, name: str, files: dict[str, int]) -> dict[str, int] | None:
        done: dict[str, int] | None = ray.get(
            self._broker.part_done.remote(self._lane, self._serial, name, self._rank, files)
        )
        return done

    def checkpoint_kept(self, name: str, step: int, length: float, value: float | None) -> None:
        ray.get(self._broker.checkpoint_kept.remote(self._lane, self._serial, name, step, length, value))

    def ended(self, outcome: Outcome) -> None:
        self.flush()
        ray.get(self._broker.ended.remote(self._lane, self._serial, self._rank, outcome))

    def flush(self) -> None:
        """Send what is queued and wait for the answer."""
        with self._sending:
            with self._lock:
                batch, self._pending, serial = self._pending, [], self._serial
            if not batch:
                return
            answer = ray.get(self._broker.reports.remote(self._lane, serial, batch))
            with self._lock:
                if serial == self._serial and answer.stop:
                    self._stop = answer

    def _send_loop(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            try:
                self.flush()
            except ray.exceptions.RayError:
                return  # the message actor is gone: the next call of the trial's own thread says so
            time.sleep(FLUSH_EVERY_S)
