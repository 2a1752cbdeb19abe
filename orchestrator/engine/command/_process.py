"""A command's process as a worker has it: started, read from, ended, and nothing of it left."""

from __future__ import annotations

import codecs
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

MOST_LINE = 64 * 1024
"""Characters of a line that are kept together; a longer one counts as several."""
LAST_LINES = 20
SLOW_END_S = 30.0
"""After SIGKILL: a process may wait for a disk that does not answer."""


class CannotStart(Exception):
    """The program could not be run."""


class CommandProcess:
    """A running command; a context manager, which ends it.

    What it prints is handed to `show` as it comes, its lines to `line`.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        grace_s: float,
        show: Callable[[str], None],
        line: Callable[[str], None],
    ) -> None:
        self._grace_s = grace_s
        status, theirs = os.pipe()
        program = Path(__file__).with_name("_supervisor.py")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program), str(theirs), f"{grace_s:g}", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs],
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stop_pipe = self._process.stdin
        self._status = os.fdopen(status, "rb", buffering=0)
        self._said = b""
        self.pid: int | None = None
        self.code: int | None = None
        """How it ended: its exit code, or the number of the signal that killed it, negative."""
        self._refused: str | None = None
        self._errors = _Output(self._process.stderr, show, line)
        self._outputs = (_Output(self._process.stdout, show, line), self._errors)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._status, selectors.EVENT_READ, None)
        for output in self._outputs:
            self._selector.register(output.pipe, selectors.EVENT_READ, output)

    def __enter__(self) -> CommandProcess:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.end()
        finally:
            self._selector.close()
            for pipe in (self._stop_pipe, self._status, *(output.pipe for output in self._outputs)):
                with suppress(OSError):
                    pipe.close()

    @property
    def over(self) -> bool:
        """Whether it and all that it has started has ended."""
        return self._status.closed or self._status not in self._selector.get_map()

    def take(self, timeout_s: float) -> bool:
        """Take what it has printed; waits up to `timeout_s` for something. Whether there was anything."""
        found = False
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._take_status()
            else:
                found = True
                if not key.data.take():
                    self._selector.unregister(key.fileobj)
        return found

    def finish(self) -> int:
        """Take what is still in its pipes once it is over; returns its exit code.

        Raises:
            CannotStart: there is no such program, or it cannot be run.
        """
        while self._selector.get_map() and self.take(0.0):
            pass
        for output in self._outputs:
            output.end()
        if self._refused is not None:
            raise CannotStart(self._refused)
        return -signal.SIGKILL if self.code is None else self.code  # its supervisor was killed

    def end(self) -> None:
        """SIGTERM to its process group, SIGKILL when that takes too long; returns when nothing is left."""
        if not self.over:
            with suppress(OSError):
                self._stop_pipe.write(b"\n")
                self._stop_pipe.flush()
            deadline = time.monotonic() + self._grace_s + SLOW_END_S
            while not self.over and time.monotonic() < deadline:
                self.take(0.5)
        if not self.over:
            sys.stderr.write(f"process {self.pid} does not end; it may still hold a GPU\n")
            self._process.kill()
        self._process.wait()
        if self.pid is not None and self.code is None:
            with suppress(OSError):  # its supervisor was killed, which takes only its first process along
                os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self) -> list[str]:
        """Return the last lines on stderr, or on stdout where there are none of a command that failed."""
        return list(self._errors.last or (self._outputs[0].last if self.code and self.code > 0 else ()))

    def has_open(self, path: Path) -> bool:
        """Whether a process of its session has the file, or one below the directory, open to write."""
        place = path.resolve()
        return any(one == place or one.is_relative_to(place) for one in self.writing())

    def writing(self) -> dict[Path, int]:
        """Return the files that processes of its session have open to write, with the flags of the open."""
        return {} if self.pid is None else dict(_open_files(self.pid))

    def _take_status(self) -> None:
        data = self._status.read(4096)
        if not data:
            self._selector.unregister(self._status)
            return
        *lines, self._said = (self._said + data).split(b"\n")
        for said in map(json.loads, lines):
            self.pid = said.get("pid", self.pid)
            self.code = said.get("status", self.code)
            self._refused = said.get("error", self._refused)


class _Output:
    """One of its pipes: text for the log, and whole lines."""

    def __init__(self, pipe: IO[bytes], show: Callable[[str], None], line: Callable[[str], None]) -> None:
        self.pipe = pipe
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._show, self._line, self._rest = show, line, ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def take(self) -> bool:
        """Take what is there; False at its end."""
        data = os.read(self.pipe.fileno(), 1 << 16)
        self._put(self._decoder.decode(data, final=not data))
        return bool(data)

    def end(self) -> None:
        """Take a last line that nothing ends."""
        if self._rest:
            self._whole(self._rest)
            self._rest = ""

    def _put(self, text: str) -> None:
        if text:
            self._show(text)
            *lines, self._rest = (self._rest + text).split("\n")
            if len(self._rest) > MOST_LINE:
                lines, self._rest = [*lines, self._rest], ""
            for line in lines:
                self._whole(line)

    def _whole(self, line: str) -> None:
        line = line.removesuffix("\r").rpartition("\r")[2]  # what a progress bar has left on the line
        if line.strip():
            self.last.append(line.strip())
        self._line(line)


def _session(leader: int) -> list[Path]:
    """Return the processes of a session, as /proc has them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            if int((folder / "stat").read_bytes().rpartition(b")")[2].split()[3]) == leader:
                found.append(folder)
    return found


def _open_files(leader: int) -> Iterator[tuple[Path, int]]:
    for process in _session(leader):
        with suppress(OSError):
            for fd in (process / "fd").iterdir():
                with suppress(OSError):
                    target = fd.readlink()
                    flags = int((process / "fdinfo" / fd.name).read_text().split("flags:")[1].split()[0], 8)
                    if flags & os.O_ACCMODE != os.O_RDONLY and target.is_file():
                        yield target, flags
