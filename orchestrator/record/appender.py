"""Files that grow: one local file opened for appending, or numbered segments where one cannot append."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from orchestrator.errors import StorageUnavailable
from orchestrator.record.folders import make_folder, sync_folder
from orchestrator.record.storagefaults import unavailable


class Appender(Protocol):
    """What is appended is readable after `sync`; half an append is never left in the middle of a file."""

    def write(self, data: bytes) -> None: ...

    def append(self, lines: Iterable[bytes]) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Puts(Protocol):
    """The part of `Storage` that segments need."""

    def write_atomic(self, relative: str, data: bytes | str) -> None: ...


class LocalAppender:
    """`O_APPEND`; `sync` is fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lost: StorageUnavailable | None = None
        make_folder(path.parent)
        self._named = path.exists()  # its name is on the disk
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines, given without their newlines."""
        self.write(b"".join(line + b"\n" for line in lines))

    def write(self, data: bytes) -> None:
        """Append bytes. Raises `StorageUnavailable`; what a failed write left behind is cut off again."""
        with self._lock:
            before = self._size()
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError as error:
                with contextlib.suppress(OSError):  # fails this too: a torn tail, which readers skip
                    os.ftruncate(self._fd, before)  # else the next line would be glued to half a line
                raise self._unavailable(error) from error

    def sync(self) -> None:
        """Raises `StorageUnavailable`, and at every later call: the kernel drops what it could not write."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            try:
                os.fsync(self._fd)
                if not self._named:
                    sync_folder(self._path.parent)
                    self._named = True
            except OSError as error:
                self._lost = self._unavailable(error)
                raise self._lost from error

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _size(self) -> int:
        try:
            return os.fstat(self._fd).st_size
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StorageUnavailable:
        return unavailable(error, "write", str(self._path), free_bytes=free_bytes(self._path))


class SegmentAppender:
    """Collects what is appended and puts it as one new segment at every `sync`."""

    def __init__(self, storage: Puts, relative: str, next_number: int) -> None:
        self._storage = storage
        self._relative = relative
        self._next = next_number
        self._pending: list[bytes] = []
        self._lock = threading.Lock()

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines, given without their newlines."""
        self.write(b"".join(line + b"\n" for line in lines))

    def write(self, data: bytes) -> None:
        with self._lock:
            self._pending.append(data)

    def sync(self) -> None:
        """Raises `StorageUnavailable`; what was not written then stays for the next `sync`."""
        with self._lock:
            data = b"".join(self._pending)
            if data:
                self._storage.write_atomic(segment_name(self._relative, self._next), data)
                self._next += 1
            self._pending.clear()

    def close(self) -> None:
        self.sync()


def segment_name(relative: str, number: int) -> str:
    return f"{relative}.{number:05d}"


def segments_of(name: str, listing: Iterable[str]) -> list[tuple[int, str]]:
    """(number, name) of the segments of the file `name` among the names of its directory, in order."""
    pattern = re.compile(re.escape(name) + r"\.(\d{5,})")
    matches = (pattern.fullmatch(candidate) for candidate in listing)
    return sorted((int(match.group(1)), match.group(0)) for match in matches if match)


def free_bytes(path: Path) -> int | None:
    """What users may still write on the file system of a path (which need not exist); None: unknown."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):
            found = os.statvfs(folder)
            return found.f_bavail * found.f_frsize
    return None
