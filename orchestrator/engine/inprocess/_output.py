"""What trials print, each thread's into its own trial's log."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from orchestrator.engine.attempts import local_log, ship_log
from orchestrator.engine.messages import Assignment
from orchestrator.record.layout import TrialPaths


class Output:
    """Stands in for the standard streams; a context manager. Threads without a trial print as before."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def __enter__(self) -> Output:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (cast("TextIO", _Stream(self, stream)) for stream in self._before)
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout, sys.stderr = self._before

    @contextmanager
    def to(self, storage: Any, assignment: Assignment, rank: int) -> Iterator[None]:
        """Send what this thread prints to the trial's log."""
        target = TrialPaths(assignment.trial_dir).log(rank)
        path: Path = local_log(storage, target)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            if assignment.attempt > 1:
                log.write(f"\n=== attempt {assignment.attempt} ===\n")
            self._of_thread.log = log
            try:
                yield
            finally:
                self._of_thread.log = None
        ship_log(storage, path, target)

    def log(self) -> TextIO | None:
        """Return the log of this thread's trial."""
        return getattr(self._of_thread, "log", None)


class _Stream(io.TextIOBase):
    def __init__(self, output: Output, otherwise: TextIO) -> None:
        self._output, self._otherwise = output, otherwise

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        return (self._output.log() or self._otherwise).write(text)

    def flush(self) -> None:
        (self._output.log() or self._otherwise).flush()

    def isatty(self) -> bool:
        return self._output.log() is None and self._otherwise.isatty()
