"""The worker's side: a process that talks to trackers, fed by a thread, never waited for while training."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from orchestrator.record.trackers.run import TrackedTrial

log = logging.getLogger(__name__)

MODULE = "orchestrator.record.trackers.serve"
MOST_WAITING = 10_000
"""Messages that wait for a slow service; what comes beyond that is not sent."""
CLOSE_S = 60.0
"""How long the end of a trial waits for its curves to arrive; then the process is ended."""


class Trackers:
    """The trackers of one worker, over all its trials. With no names every call returns at once.

    Nothing here raises on account of a service: the first failure of a trial is a line in its log.
    """

    def __init__(self, names: tuple[str, ...], program: tuple[str, ...] = (sys.executable, "-m", MODULE)):
        self._names, self._program = names, program
        self._process: subprocess.Popen[str] | None = None
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(MOST_WAITING)
        self._closed = threading.Event()
        self._warned: set[str] = set()
        self._warn: Callable[[str], None] = lambda text: log.warning("%s", text)

    def open(self, trial: TrackedTrial, warn: Callable[[str], None]) -> None:
        """A trial begins, or goes on; `warn` takes what goes wrong during it."""
        if not self._names:
            return
        self._warn, self._warned = warn, set()
        self._closed.clear()
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._put({"open": trial.to_json()})

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Values of one step at a time of day."""
        if self._names:
            self._put({"scalars": dict(values), "step": step, "time": time_s})

    def close(self, state: str, finals: Mapping[str, float]) -> None:
        """The attempt is over; waits until the services have all of it, `CLOSE_S` at most."""
        if self._process is None:
            return
        self._put({"close": state, "finals": dict(finals)}, wait_s=CLOSE_S)
        if not self._closed.wait(CLOSE_S):
            self._say(f"no answer within {CLOSE_S:.0f} s: this worker sends nothing more")
            self._names = ()
            self._process.kill()
        elif self._process.poll() is not None:
            self._say("the process that talks to the loggers has ended")

    def end(self) -> None:
        """No trial follows."""
        if self._process is not None:
            self._put(None, wait_s=CLOSE_S)
            try:
                self._process.wait(CLOSE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _start(self) -> None:
        self._queue = queue.Queue(MOST_WAITING)
        self._process = process = subprocess.Popen(
            [*self._program, *self._names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it outlives a worker that is killed, and closes the run
        )
        for work, stream in ((self._send, process.stdin), (self._listen, process.stdout)):
            threading.Thread(target=work, args=(stream, self._queue), name="trackers", daemon=True).start()

    def _put(self, message: dict[str, Any] | None, wait_s: float = 0.0) -> None:
        try:
            self._queue.put(message, block=wait_s > 0, timeout=wait_s or None)
        except queue.Full:
            self._say("slower than the trial: curves are incomplete there")

    def _send(self, stream: IO[str], messages: queue.Queue[dict[str, Any] | None]) -> None:
        try:
            with stream:
                while (message := messages.get()) is not None:
                    stream.write(json.dumps(message, default=str) + "\n")
                    if messages.empty():
                        stream.flush()
        except OSError:
            self._closed.set()  # it has ended: `close` says so

    def _listen(self, stream: IO[str], messages: queue.Queue[dict[str, Any] | None]) -> None:
        del messages
        with stream:
            for line in stream:
                answer = json.loads(line)
                if "warning" in answer:
                    self._say(answer["warning"])
                else:
                    self._closed.set()
        self._closed.set()

    def _say(self, text: str) -> None:
        """Once per trial and text."""
        if text not in self._warned:
            self._warned.add(text)
            self._warn(f"logger {text}")
