"""What one trial prints, in a log file of bounded size.

`TrialOutput` stands in for `sys.stdout` and `sys.stderr` while a trial runs in this process. The file keeps
the first and the last half of the cap, with a line between them that says how much is missing:

    head (cap/2)  |  ... 123,456 bytes dropped ...  |  tail (last cap/2)

A print appends to a queue; a background thread writes about once a second, so that `logs -f` is live. Forked
children (data loader workers) append whole lines to the same file. Output that bypasses `sys.stdout` (native
code, spawned programs) goes where the process's own descriptors go. Values of environment variables that are
named like secrets become `***`, unless a print is cut in two just there.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TextIO, cast

from orchestrator.study.secrets import MASK, environment_secrets

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CAP_BYTES = 16 * 2**20
_WRITE_AT = 256 * 1024  # pending characters that are written at once, by whoever prints
_WRITE_AFTER_S = 0.25  # a print writes what is pending when the last write is this old
_FLUSH_AFTER_S = 0.01  # a flush is honoured unless one was honoured just now
_TICK_S = 1.0
_SEAM_BYTES = 4096  # how far a cut may move to fall between two lines


class CappedFile:
    """An append-only file of which the first and the last half of `cap_bytes` are kept.

    While it is open it may hold half a cap more (the tail is cut back only when it is twice too long); after
    `close` it does not. Not thread-safe; raises OSError like any file.
    """

    def __init__(self, path: Path, cap_bytes: int, attempt: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Forked children share the first descriptor: O_APPEND keeps their lines and ours apart.
        self._append_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._edit_fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._half = max(1, cap_bytes // 2)
        self.dropped_bytes = 0
        """Bytes that were printed and are no longer in the file."""
        size = self._size()
        if size or attempt > 1:
            last = os.pread(self._edit_fd, 1, size - 1) if size else b"\n"
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._write_all(b"\n"[: last != b"\n"] + f"=== attempt {attempt}, {stamp} ===\n".encode())
        self._head_end = self._size() + self._half
        self._tail_start = self._head_end

    def append(self, data: bytes) -> None:
        """Write `data` at the end."""
        size = self._size()
        if size >= self._tail_start and len(data) > 2 * self._half:
            # Most of it would be cut again at once: keep the end, count the rest as dropped.
            self._cut(keep_bytes=0, also_dropped=len(data) - self._half)
            data = data[-self._half :]
        self._write_all(data)
        if self._size() - self._tail_start > 2 * self._half:
            self._cut(self._half)

    def close(self) -> None:
        """Cut the tail to its size and close."""
        try:
            if self._size() - self._tail_start > self._half:
                self._cut(self._half)
        finally:
            os.close(self._append_fd)
            os.close(self._edit_fd)

    def append_from_child(self, line: bytes) -> None:
        """Write a line from a forked child, which must not touch anything else."""
        os.write(self._append_fd, line)

    def _size(self) -> int:
        return os.fstat(self._append_fd).st_size

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._append_fd, view) :]

    def _cut(self, keep_bytes: int, also_dropped: int = 0) -> None:
        """Replace the tail by the line that counts what is missing and the last `keep_bytes` of it."""
        if not self.dropped_bytes:
            self._head_end = self._tail_start = self._head_end - self._partial_line(self._head_end)
        size = self._size()
        start = max(self._tail_start, size - keep_bytes)
        tail = os.pread(self._edit_fd, size - start, start)
        if start > self._tail_start:
            seam = tail.find(b"\n", 0, _SEAM_BYTES) + 1
            tail, start = tail[seam:], start + seam
        self.dropped_bytes += start - self._tail_start + also_dropped
        note = f"\n... {self.dropped_bytes:,} bytes dropped ...\n".encode()
        os.pwrite(self._edit_fd, note + tail, self._head_end)
        self._tail_start = self._head_end + len(note)
        os.ftruncate(self._edit_fd, self._tail_start + len(tail))

    def _partial_line(self, end: int) -> int:
        """Length of the unfinished line before `end` (0 when it is longer than the seam)."""
        before = os.pread(self._edit_fd, min(_SEAM_BYTES, end), max(0, end - _SEAM_BYTES))
        newline = before.rfind(b"\n")
        return 0 if newline < 0 else len(before) - newline - 1


class _Bytes(io.RawIOBase):
    """The `buffer` of a captured stream."""

    def __init__(self, sink: Callable[[str | bytes], None]) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        raw = bytes(data)
        self._sink(raw)
        return len(raw)


class _Stream(io.TextIOBase):
    """Text stream over the output's queue; never raises and never closes."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, name: str, sink: Callable[[str | bytes], None], flush: Callable[[], None]) -> None:
        self.name = name
        self.mode = "w"
        self._sink = sink
        self._flush = flush
        self.buffer = _Bytes(sink)

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        self._sink(text)
        return len(text)

    def flush(self) -> None:
        self._flush()

    def reconfigure(self, **_settings: object) -> None:
        """Scripts ask for line buffering this way; the output is live as it is."""

    def close(self) -> None:
        """Restore standard streams that a trial has closed: they must not silence what follows."""


class TrialOutput:
    """Send what this process prints and logs to `path` for the duration of one trial.

    Root log handlers that were there before stand aside, so `logging.basicConfig` works as in a plain script;
    handlers bound to the old standard streams write to the captured ones. All of it is put back at the end.
    A file that cannot be written is noted once on the old standard error and never raises into the trial.
    """

    def __init__(self, path: Path, cap_bytes: int = CAP_BYTES, *, attempt: int = 1) -> None:
        self.path = path
        self._cap_bytes = cap_bytes
        self._attempt = attempt
        self._owner_pid = os.getpid()
        self._file: CappedFile | None = None
        # Only append and popleft touch the queue: both are atomic, so a print takes no lock.
        self._pending: deque[str | bytes] = deque()
        self._pending_size = 0  # about; printing threads may race, the clock bounds the error
        self._lost_bytes = 0
        self._written_at = 0.0
        self._secrets = [value.encode() for value in environment_secrets()]
        self._failed = False
        self._open = False
        # Re-entrant: a signal handler or a finaliser may print while this thread writes.
        self._file_lock = threading.RLock()
        self._writing = False
        self._stop = threading.Event()
        self._child_line = b""
        self.stdout = _Stream("<stdout>", self._put, self._flush)
        self.stderr = _Stream("<stderr>", self._put, self._flush)

    @property
    def dropped_bytes(self) -> int:
        """Bytes that are not in the file: beyond the cap, or refused by the disk."""
        return self._lost_bytes + (self._file.dropped_bytes if self._file else 0)

    def __enter__(self) -> Self:
        self._before = (sys.stdout, sys.stderr)
        try:
            self._file = CappedFile(self.path, self._cap_bytes, self._attempt)
        except OSError as error:
            self._note(error)
        self._open = True
        bound, root = list(_bound_to(self._before)), logging.getLogger()
        self._back = contextlib.ExitStack()
        self._back.enter_context(contextlib.redirect_stdout(cast("TextIO", self.stdout)))
        self._back.enter_context(contextlib.redirect_stderr(cast("TextIO", self.stderr)))
        for handler in bound:
            self._back.callback(handler.setStream, handler.setStream(cast("IO[str]", self.stderr)))
        self._back.callback(root.handlers.__setitem__, slice(None), root.handlers[:])
        root.handlers[:] = []
        self._ticker = threading.Thread(target=self._tick, name="trial-output", daemon=True)
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._owner_pid:
            return  # a forked child that ran on to here: the file and the thread are its parent's
        self._back.close()
        self._stop.set()
        self._ticker.join()
        self._open = False
        self._write_pending()
        with self._file_lock:
            if self._file is not None:
                try:
                    if self._lost_bytes:
                        note = f"\n... {self._lost_bytes:,} bytes could not be written ...\n"
                        self._file.append(note.encode())
                    self._file.close()
                except OSError as problem:
                    self._note(problem)

    def _put(self, data: str | bytes) -> None:
        if os.getpid() != self._owner_pid:
            self._put_from_child(_encoded(data))
        elif self._open:
            self._pending.append(data)
            self._pending_size += len(data)
            if self._pending_size >= _WRITE_AT or time.monotonic() - self._written_at > _WRITE_AFTER_S:
                self._write_pending()

    def _flush(self) -> None:
        if os.getpid() != self._owner_pid:
            self._put_from_child(b"", whole_lines=False)
        elif time.monotonic() - self._written_at > _FLUSH_AFTER_S:
            self._write_pending()

    def _put_from_child(self, data: bytes, whole_lines: bool = True) -> None:
        """In a forked child: no locks (their holders do not exist here), no queue, whole lines."""
        text = self._child_line + data
        end = text.rfind(b"\n") + 1 if whole_lines else len(text)
        self._child_line = text[end:]
        if end and self._file is not None:
            try:
                self._file.append_from_child(text[:end])
            except OSError:
                self._failed = True  # the parent meets the same disk and says so

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_S):
            self._write_pending()

    def _write_pending(self) -> None:
        with self._file_lock:
            if self._writing:
                return
            self._writing = True
            self._written_at, self._pending_size = time.monotonic(), 0
            chunks = [self._pending.popleft() for _ in range(len(self._pending))]
            data = b"".join(map(_encoded, chunks))
            for secret in self._secrets:
                data = data.replace(secret, MASK.encode())
            try:
                if data and self._file is not None:
                    self._file.append(data)
                else:
                    self._lost_bytes += len(data)
            except OSError as error:
                self._lost_bytes += len(data)
                self._note(error)
            finally:
                self._writing = False

    def _note(self, error: OSError) -> None:
        """Say once, on the stream that was there before, that the log is incomplete."""
        if self._failed:
            return
        self._failed = True
        # A process without a usable standard error has nowhere to say it; the trial must go on.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._before[1].write(f"the log {self.path} cannot be written: {error}\n")


def _encoded(data: str | bytes) -> bytes:
    return data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data


def _bound_to(streams: tuple[TextIO, TextIO]) -> Iterator[logging.StreamHandler[Any]]:
    """Stream handlers of all loggers that write to the standard streams, each once."""
    standard = (*streams, sys.__stdout__, sys.__stderr__)
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    seen: set[int] = set()
    for logger in loggers:
        for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
            if not isinstance(handler, logging.StreamHandler) or id(handler) in seen:
                continue
            seen.add(id(handler))
            if any(handler.stream is stream for stream in standard):
                yield handler
