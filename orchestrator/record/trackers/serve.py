"""The process that talks to trackers: `python -m orchestrator.record.trackers.serve wandb mlflow`.

Reads lines of JSON from stdin; for every trial `{open}`, any number of `{scalars, step, time}`, and
`{close, finals}`. Answers `{warning}` when a tracker fails (it gets no more values until the next trial) or
refuses a value, and `{closed}`. At the end of stdin it closes what is open and ends.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from orchestrator.record.loggers import ServiceLogger, TrackedTrial
from orchestrator.record.trackers.named import NamedValues
from orchestrator.study.names import LOGGERS

INTERRUPTED = "interrupted"
TRIES = 2
"""Trials in a row without a beginning, after which a tracker is left alone: each costs a timeout."""


class Server:
    """One trial after the other; `say` sends an answer."""

    def __init__(self, names: list[str], say: Callable[[dict[str, Any]], None]) -> None:
        self._names, self._say = list(names), say
        self._open: dict[str, ServiceLogger] = {}
        self._values: dict[str, NamedValues] = {}  # of those that have not failed
        self._now = (0, 0.0)
        self._failed: dict[str, int] = {}  # trials in a row that a tracker could not begin

    def take(self, message: dict[str, Any]) -> None:
        """Carry out one message."""
        if "open" in message:
            self._close(INTERRUPTED, {})
            trial = TrackedTrial(**message["open"])
            for name in [name for name in self._names if self._failed.get(name, 0) < TRIES]:
                tracker = self._tried(name, self._begun, name, trial)
                self._failed[name] = self._failed.get(name, 0) + 1 if tracker is None else 0
                if tracker is not None:
                    self._open[name] = tracker
                    self._values[name] = self._values_of(name, tracker)
                elif self._failed[name] == TRIES:
                    self._say({"warning": f"{name} has failed for {TRIES} trials: not tried again here"})
        elif "scalars" in message:
            self._now = message["step"], message["time"]
            for name, values in list(self._values.items()):
                self._tried(name, values.put, message["scalars"])
        else:
            self._close(message["close"], message["finals"])
            self._say({"closed": True})

    def end(self) -> None:
        """Nothing more will come."""
        self._close(INTERRUPTED, {})

    def _begun(self, name: str, trial: TrackedTrial) -> ServiceLogger:
        begun: ServiceLogger = LOGGERS.get(name)(trial)
        self._remark(name, begun)
        return begun

    def _values_of(self, name: str, tracker: ServiceLogger) -> NamedValues:
        return NamedValues(
            lambda values: tracker.scalars(values, *self._now),
            lambda text: self._say({"warning": f"{name}: {text}"}),
        )

    def _remark(self, name: str, tracker: ServiceLogger) -> None:
        for text in tracker.remarks:
            self._say({"warning": f"{name}: {text}"})

    def _close(self, state: str, finals: dict[str, float]) -> None:
        for name, tracker in list(self._open.items()):
            self._tried(name, tracker.close, state, finals if name in self._values else {})
            self._remark(name, tracker)
        self._open.clear()
        self._values.clear()

    def _tried(self, name: str, call: Callable[..., Any], *args: Any) -> Any:
        """Return the result of the call, or None and a warning: services fail in their own ways."""
        try:
            return call(*args)
        except Exception as error:
            self._values.pop(name, None)  # its run is still to be closed
            said = " ".join(str(error).split())[:300]
            self._say({"warning": f"{name}: {type(error).__name__}: {said}"})
            return None


def main() -> None:
    """Answer what the worker asks until it goes away."""
    answers = _private_stdout()

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    server = Server(sys.argv[1:], say)
    try:
        for line in sys.stdin:
            server.take(json.loads(line))
    finally:
        server.end()


def _private_stdout() -> TextIO:
    """Return a stream for answers only: what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


if __name__ == "__main__":
    main()
