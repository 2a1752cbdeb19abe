"""A session of the built-in loop that writes down when its trial trained; for the runs without a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task

BEGAN, REPORTED, ENDED = "began", "reported", "ended"


class StampedSession(LocalSession):
    """A `LocalSession` that notes its first step and every report in a file of lines.

    Args:
        stamps: the file; many processes may append to it.
        trial: the trial's name in it.
        also: gets every report, such as `ray.train.report`.
    """

    def __init__(
        self, config: dict[str, Any], stamps: Path, trial: str, also: Callable[[dict[str, Any]], None]
    ) -> None:
        super().__init__(config, float(config["max_length"]), trial_dir="")
        self._file, self._trial, self._also, self._began = stamps, trial, also, False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if not self._began:
            self._began = True
            self._stamp(BEGAN)
        super().scalars(values, step)

    def report(self, metrics: Mapping[str, Any], checkpoint_dir: Path | None = None) -> None:
        self._stamp(REPORTED, value=metrics["val/accuracy"])
        super().report(metrics, checkpoint_dir)
        self._also(dict(metrics))

    def _stamp(self, event: str, **fields: Any) -> None:
        line = json.dumps({"t": time.time(), "trial": self._trial, "event": event, **fields})
        with self._file.open("a") as lines:
            lines.write(line + "\n")


def train(
    config: Mapping[str, Any],
    stamps: Path,
    trial: str,
    cache: dict[str, Any],
    also: Callable[[dict[str, Any]], None] = lambda _metrics: None,
) -> None:
    """Train the digits task once. `cache` keeps its data between trials of a process."""
    from trials.digits import Digits

    session = StampedSession(dict(config), stamps, trial, also)
    session.cache = cache
    run_task(Digits, session)


def read_stamps(file: Path) -> list[dict[str, Any]]:
    """The lines so far; none while there is no file."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]
