"""Processes of a Ray whose driver was killed: they are ended before their CPUs and GPUs are given out again.

Ray ends them by itself, but on a busy machine not before the next driver's workers are up. What a driver has
started carries a mark in its environment: which process that was, in which PID namespace.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from orchestrator.engine.ray_private.head import EMBEDDED
from orchestrator.record.lease import pid_namespace, process_start

log = logging.getLogger(__name__)
GRACE_S = 5.0
"""For Ray's own way; then they are killed."""
LIMIT_S = 30.0
_PROC = Path("/proc")


def mark() -> str:
    """Return what tells the processes of this driver from those of any other."""
    return f"{_namespace()} {os.getpid()} {process_start(os.getpid())}"


def end_orphans(grace_s: float = GRACE_S, limit_s: float = LIMIT_S) -> None:
    """Wait until nothing lives that a dead driver of this user has left; kill what does not end by itself."""
    with ExitStack() as stack:
        left = {}
        for pid in _orphans():
            with suppress(OSError):  # it has ended meanwhile
                left[os.pidfd_open(pid)] = pid
        for fd in left:
            stack.callback(os.close, fd)
        left = _alive_after(left, grace_s)
        for fd, pid in left.items():
            if _is_orphan(pid):
                with suppress(OSError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
        for pid in _alive_after(left, limit_s).values():
            log.warning("process %d of a driver that was killed does not end; it may still hold a GPU", pid)


def _alive_after(left: dict[int, int], limit_s: float) -> dict[int, int]:
    left, deadline = dict(left), time.monotonic() + limit_s
    poll = select.poll()
    for fd in left:
        poll.register(fd, select.POLLIN)
    while left and (rest := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(rest * 1000):
            poll.unregister(fd)
            del left[fd]
    return left


def _orphans() -> Iterator[int]:
    yield from (int(path.name) for path in _PROC.iterdir() if path.name.isdigit() and _is_orphan(path.name))


def _is_orphan(pid: int | str) -> bool:
    """Whether a driver of this namespace has started it, and that driver is gone."""
    try:
        lines = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # another user's, or it has ended
        return False
    value = next((line for line in lines if line.startswith(f"{EMBEDDED}=".encode())), b"").decode()
    parts = value.partition("=")[2].split()
    if len(parts) != 3 or parts[0] != _namespace() or not parts[1].isdigit():
        return False
    return process_start(int(parts[1])) != parts[2]


def _namespace() -> str:
    return pid_namespace() or "none"
