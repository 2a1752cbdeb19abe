"""Directories that hold a checkpoint on its way; they end with the process that made them, however it ends.

Each is locked for as long as somebody uses it. What nobody has locked was left by a process that was killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "orchestrator-checkpoint-"
_swept: set[tuple[int, str]] = set()


class Staging:
    """A new, empty directory of our own, until it is removed."""

    def __init__(self) -> None:
        place = tempfile.gettempdir()
        if (os.getpid(), place) not in _swept:
            _swept.add((os.getpid(), place))
            remove_abandoned(Path(place))
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            with suppress(FileNotFoundError):
                self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                if self.path.exists():  # nobody has taken it for an abandoned one before it was locked
                    return
                os.close(self._lock)

    def remove(self) -> None:
        """Remove it with all that it holds; a second time does nothing."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


@contextmanager
def staged() -> Iterator[Path]:
    """Give a directory of our own as long as the block."""
    staging = Staging()
    try:
        yield staging.path
    finally:
        staging.remove()


def remove_abandoned(place: Path) -> None:
    """Remove the directories of processes that are gone."""
    for path in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it went meanwhile, somebody uses it, or it is another user's
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
