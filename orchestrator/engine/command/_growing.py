"""Files that another process is still writing: read as they grow, begun again, rotated, torn, or damaged."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

MOST_READ = 8 << 20
"""Bytes of one file that one look takes in."""
MOST_LINE = 1 << 20
"""Bytes of a line; a longer one is no line of metrics, and is left out."""
_REMEMBERED = 64


class GrowingFile:
    """The bytes of one file in the order in which they are written, from `start` on.

    A file that was renamed away is read to its end before its successor is begun. One that has become
    shorter, or says something else where it was read already, is read again from its beginning.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path, self._at, self._before = path, start, b""
        self.begun = 0  # how often it was begun again
        self._fd: int | None = None

    def more(self, most: int = MOST_READ) -> bytes:
        """Return what was added, b"" where nothing was; after `begun` has grown it is of a new beginning."""
        if self._fd is None and not self._open():
            return b""
        assert self._fd is not None
        if self._rewritten():
            self._again()
        found = self._read(most)
        if not found and self._replaced():
            self.close()
            if self._open():
                self._again()
                found = self._read(most)
        return found

    def head(self, size: int) -> bytes:
        """Return the first bytes of the file, whatever was read of it."""
        if self._fd is None and not self._open():
            return b""
        assert self._fd is not None
        return os.pread(self._fd, size, 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> bool:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        if not stat.S_ISREG(os.fstat(fd).st_mode):  # a pipe or a device may never end
            os.close(fd)
            return False
        self._fd = fd
        return True

    def _read(self, most: int) -> bytes:
        assert self._fd is not None
        found = os.pread(self._fd, most, self._at)
        self._at += len(found)
        self._before = (self._before + found)[-_REMEMBERED:]
        return found

    def _again(self) -> None:
        self._at, self._before = 0, b""
        self.begun += 1

    def _rewritten(self) -> bool:
        assert self._fd is not None
        if os.fstat(self._fd).st_size < self._at:
            return True
        size = len(self._before)
        return bool(size) and os.pread(self._fd, size, self._at - size) != self._before

    def _replaced(self) -> bool:
        assert self._fd is not None
        try:
            there, ours = self.path.stat(), os.fstat(self._fd)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


class Lines:
    """Whole lines out of bytes that come in pieces; one that is too long is dropped as a whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._dropping = False

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that are whole now."""
        *whole, rest = data.split(b"\n")
        for part in whole:
            line, self._rest = self._rest + part, b""
            if self._dropping or len(line) > MOST_LINE:
                self._dropping = False
            else:
                yield _text(line)
        self._rest += rest
        if len(self._rest) > MOST_LINE or self._dropping:
            self._dropping, self._rest = True, b""

    def last(self) -> Iterator[str]:
        """Yield what stands behind the last line's end, once nothing follows any more."""
        if self._rest:
            yield _text(self._rest)
        self.reset()

    def reset(self) -> None:
        """Forget what was begun."""
        self._rest, self._dropping = b"", False


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r")
