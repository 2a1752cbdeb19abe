"""Files that grow: one file opened for appending, or numbered segments where one cannot append."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable


class Appender(ABC):
    """What is appended is readable after `sync`; half an append is never left in the middle of a file.

    Raises `StorageUnavailable`.
    """

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines, given without their newlines."""
        self.write(b"".join(line + b"\n" for line in lines))

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Append bytes, all of them or none."""

    @abstractmethod
    def sync(self) -> None:
        """Return once everything so far would survive a crash."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left and let go."""


class SegmentAppender(Appender):
    """Collects what is appended; `put` gets it as one new segment, with its number, at every `sync`."""

    def __init__(self, put: Callable[[int, bytes], None], next_number: int) -> None:
        self._put = put
        self._next = next_number
        self._pending: list[bytes] = []
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Keep it for the next `sync`."""
        with self._lock:
            self._pending.append(data)

    def sync(self) -> None:
        """Raise `StorageUnavailable`; what was not written then stays for the next `sync`."""
        with self._lock:
            data = b"".join(self._pending)
            if data:
                self._put(self._next, data)
                self._next += 1
            self._pending.clear()

    def close(self) -> None:
        """Put what is left."""
        self.sync()
