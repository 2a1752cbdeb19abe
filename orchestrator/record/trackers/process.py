"""The worker's side: a process that talks to trackers, fed by a thread, never waited for while training."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from orchestrator.record.loggers import ServiceLogger, TrackedTrial
from orchestrator.study.names import LOGGERS

log = logging.getLogger(__name__)

MODULE = "orchestrator.record.trackers.serve"
MOST_WAITING = 10_000
"""Messages that wait for a slow service; what comes beyond that is not sent."""
CLOSE_S = 60.0
"""How long the end of a trial waits for its curves to arrive; then the process is ended."""


def services(loggers: Iterable[str]) -> tuple[str, ...]:
    """Those of these loggers that run beside the worker."""
    return tuple(name for name in loggers if issubclass(LOGGERS.get(name), ServiceLogger))


class Trackers:
    """The trackers of one worker, over all its trials. With no names every call returns at once.

    Nothing here raises on account of a service: the first failure of a trial is a line in its log.
    `without`: variables of the environment that their process does not get. It works where this is made: a
    trial's own directory goes with the trial.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        program: tuple[str, ...] = (sys.executable, "-m", MODULE),
        without: tuple[str, ...] = (),
    ) -> None:
        self._names, self._program, self._without = names, program, without
        self._folder = Path.cwd()
        self._child: _Child | None = None
        self._warned: set[str] = set()
        self._warn: Callable[[str], None] = lambda text: log.warning("%s", text)

    def open(self, trial: TrackedTrial, warn: Callable[[str], None]) -> None:
        """Begin a trial, or go on with it; `warn` takes what goes wrong during it."""
        if not self._names:
            return
        self._warn, self._warned = warn, set()
        if self._child is not None:
            self._child.closed.clear()  # before it is asked: one that ends from now on sets it again
        if self._child is not None and self._child.gone:
            self._child.end(CLOSE_S)
            self._child = None
        if self._child is None:
            environment = {name: value for name, value in os.environ.items() if name not in self._without}
            words = [*self._program, *self._names]
            self._child = _Child(words, environment, self._folder, self._say)
        self._put({"open": asdict(trial)})

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Values of one step at a time of day."""
        if self._names:
            self._put({"scalars": dict(values), "step": step, "time": time_s})

    def close(self, state: str, finals: Mapping[str, float]) -> None:
        """End the attempt; waits until the services have all of it, `CLOSE_S` at most."""
        child = self._child
        if child is None or not self._names:
            return
        self._put({"close": state, "finals": dict(finals)}, wait_s=CLOSE_S)
        if not child.closed.wait(CLOSE_S):
            self._say(f"no answer within {CLOSE_S:.0f} s: this worker sends nothing more")
            self._names = ()
            child.process.kill()
        elif child.gone:
            self._say("the process that talks to the loggers has ended")

    def end(self) -> None:
        """No trial follows."""
        if self._child is not None:
            self._put(None, wait_s=CLOSE_S)
            self._child.end(CLOSE_S)

    def _put(self, message: dict[str, Any] | None, wait_s: float = 0.0) -> None:
        if self._child is None or self._child.gone:
            return
        try:
            self._child.messages.put(message, block=wait_s > 0, timeout=wait_s or None)
        except queue.Full:
            self._say("slower than the trial: curves are incomplete there")

    def _say(self, text: str) -> None:
        """Once per trial and text."""
        if text not in self._warned:
            self._warned.add(text)
            self._warn(f"logger {text}")


class _Child:
    """One process, fed from a queue by a thread; another thread hears its answers."""

    def __init__(
        self, words: list[str], environment: dict[str, str], folder: Path, say: Callable[[str], None]
    ) -> None:
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue(MOST_WAITING)
        self.closed = threading.Event()
        """It has closed the trial, or it is gone."""
        self.gone = False
        self._say = say
        self.process = subprocess.Popen(
            words,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # it outlives a worker that is killed, and closes the run
        )
        self._threads = [
            threading.Thread(target=work, args=(stream,), name="trackers", daemon=True)
            for work, stream in ((self._send, self.process.stdin), (self._listen, self.process.stdout))
        ]
        for thread in self._threads:
            thread.start()

    def end(self, wait_s: float) -> None:
        """Wait until it has ended, or end it."""
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with suppress(queue.Full):
            self.messages.put_nowait(None)
        for thread in self._threads:
            thread.join(wait_s)

    def _send(self, stream: IO[str]) -> None:
        with suppress(OSError), stream:  # it has ended: `_listen` notices
            while (message := self.messages.get()) is not None:
                stream.write(json.dumps(message, default=str, skipkeys=True) + "\n")
                if self.messages.empty():
                    stream.flush()

    def _listen(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                answer = json.loads(line)
                if "warning" in answer:
                    self._say(answer["warning"])
                else:
                    self.closed.set()
        self.gone = True
        self.closed.set()


def run_id(cell: str, study_root: str, began: float) -> str:
    """Return the same for every attempt at a cell; another one when the study is begun anew (`--fresh`).

    `began`: time of the first line of its journal.
    """
    instance = hashlib.sha256(f"{study_root}\n{began!r}".encode()).hexdigest()[:8]
    return f"{cell}-{instance}"
