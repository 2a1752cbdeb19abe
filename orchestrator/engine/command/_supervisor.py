"""A small program between a worker and a command: however the worker ends, nothing of the command is left.

    python -I -S _supervisor.py STATUS_FD GRACE_S WORD...

It runs the words in a session of their own and says on STATUS_FD, in lines of JSON, which process that is
and how it ended. A line on stdin ends the command: SIGTERM to its process group, SIGKILL after GRACE_S. The
end of stdin, which comes when the worker is gone, kills it at once. What the command has started and left
behind is ended with it, also what has left its process group: orphans become children of this process.
"""

import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LEFT_BEHIND_S = 2.0
"""What a command that has ended by itself leaves running gets this long after SIGTERM."""
OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def prctl(option: int, value: int) -> None:
    """Set it where this system knows it: on Linux."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Supervisor:
    """One command, until nothing of it is left."""

    def __init__(self, status: int, grace_s: float, words: list[str]) -> None:
        self._status, self._grace_s = status, grace_s
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        for number in OURS:
            signal.signal(number, signal.SIG_IGN)
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._pid = self._start(words)
        self._ended: int | None = None
        self.say(pid=self._pid)

    def say(self, **what: object) -> None:
        """Tell the worker; it may be gone."""
        with suppress(OSError):
            os.write(self._status, json.dumps(what).encode() + b"\n")

    def run(self) -> None:
        """Wait for the command's end, or bring it about."""
        kill_at: float | None = None
        listening = [self._woken, 0]
        while self._alive():
            if self._ended is not None and kill_at is None:
                self._signal(signal.SIGTERM)
                kill_at = time.monotonic() + min(LEFT_BEHIND_S, self._grace_s)
            rest = None if kill_at is None else kill_at - time.monotonic()
            if rest is not None and rest <= 0:
                self._signal(signal.SIGKILL)
                rest = 0.05
            ready, _, _ = select.select(listening, [], [], rest)
            if self._woken in ready:
                os.read(self._woken, 512)
            if 0 in ready:
                asked = os.read(0, 512)
                listening = listening if asked else [self._woken]
                if not asked or kill_at is None:
                    self._signal(signal.SIGTERM if asked else signal.SIGKILL)
                    kill_at = time.monotonic() + (self._grace_s if asked else 0.0)
        self.say(status=self._ended)

    def _start(self, words: list[str]) -> int:
        me = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != me:
                os._exit(1)
            signal.set_wakeup_fd(-1)
            for number in (*OURS, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.set_inheritable(self._status, False)
            os.execvp(words[0], words)  # noqa: S606 - no shell is what is wanted
        except OSError as error:
            self.say(error=f"{os.strerror(error.errno or errno.EINVAL)}: {words[0]}")
        finally:
            os._exit(127)

    def _alive(self) -> bool:
        """Take in who has ended; whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._ended = os.waitstatus_to_exitcode(status)

    def _signal(self, number: int) -> None:
        """Signal the command's process group, and whoever has left it."""
        with suppress(OSError):
            os.killpg(self._pid, number)
        for pid in descendants() if number == signal.SIGKILL or self._ended is not None else ():
            with suppress(OSError):
                os.kill(pid, number)


def descendants() -> list[int]:
    """Return the processes below this one; none where there is no /proc."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(folder.name)] = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
    found: list[int] = []
    level = {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found += level
    return found


if __name__ == "__main__":
    Supervisor(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]).run()
