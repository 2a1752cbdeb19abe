"""State of the operating-system process: what can be put back, and what can only be noticed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.engine.clean_slate.parts import Noticed, StatePart, Value
from orchestrator.training.loading import kept_children, kept_threads

_TASKS = Path("/proc/self/task")
_GRACE_S = 0.25  # a thread or child that is just ending gets this long, once, and only if there is one
_INFRASTRUCTURE = ("ray", "grpc", "orchestrator", "fsspec")
_LOADER_SIGNALS = "torch.utils.data._utils.signal_handling"  # watches the workers of all data loaders
_COMPILE_WORKERS = ("torch._inductor", "torch/_inductor/compile_worker")
_KEPT_CHILDREN = (_COMPILE_WORKERS[1], "orchestrator.record.trackers")  # by a word of their command


def settings() -> Iterator[StatePart]:
    """Yield what the system keeps of a process."""
    yield Value("working directory", Path.cwd, os.chdir, always=True)
    yield Value("umask", _umask, os.umask, always=True)
    # cannot be lowered again without privileges
    nice = partial(os.getpriority, os.PRIO_PROCESS)
    yield Noticed("nice", lambda: (nice(os.getpid()), nice(0)), "nice is {now[0]}, was {was[0]}")
    yield Signals()
    for kind in {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}:
        yield Value("resource limits", partial(_soft_limit, kind), partial(_set_soft_limit, kind))
    if hasattr(os, "sched_getaffinity"):
        yield Affinity()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _soft_limit(kind: int) -> int:
    return resource.getrlimit(kind)[0]


def _set_soft_limit(kind: int, soft: int) -> None:
    """Raise `ValueError` where the hard limit was lowered: that needs privileges."""
    resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))


class Affinity:
    """CPUs of every thread of the process: native pools inherit the mask of the trial that made them."""

    name = "cpu affinity"

    def __init__(self) -> None:
        self._process = os.sched_getaffinity(0)
        self._threads = {tid: os.sched_getaffinity(tid) for tid in _tids()}

    def restore(self) -> None:
        for tid in _tids():
            mask = self._threads.get(tid, self._process)
            with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
                if os.sched_getaffinity(tid) != mask:
                    os.sched_setaffinity(tid, mask)


class Signals:
    """Handlers can be set from the main thread only: noticed. A running timer is stopped."""

    name = "signal handlers"

    def __init__(self) -> None:
        self._handlers = self._now()
        self._timer = signal.getitimer(signal.ITIMER_REAL)

    @staticmethod
    def _now() -> dict[int, Any]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    def restore(self) -> list[str]:
        if self._timer == (0.0, 0.0) and signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):
            signal.setitimer(signal.ITIMER_REAL, 0)
        now = self._now()
        changed = [
            signal.Signals(number).name
            for number, was in self._handlers.items()
            if now[number] != was and getattr(now[number], "__module__", None) != _LOADER_SIGNALS
        ]
        return [f"signal handler changed: {', '.join(changed)}"] if changed else []


class Threads:
    """Threads cannot be ended from outside: those that are left are noticed, daemon or not.

    Not counted: those of the snapshot, the caller's, and those of Ray, gRPC and the orchestrator, the kept
    loader's among them. The progress bars' monitor and the writer threads of event files that nobody closed
    are asked to end.
    """

    name = "threads"

    def __init__(self) -> None:
        self._known = set(threading.enumerate())

    def restore(self) -> list[str]:
        left = self._left()
        for thread in left:
            _ask_to_end(thread)
        for thread in left:
            thread.join(_GRACE_S)
        still = self._left() if left else []
        return [f"thread {thread.name!r} is still running ({_origin(thread)})" for thread in still]

    def _left(self) -> list[threading.Thread]:
        known = {*self._known, *kept_threads(), threading.current_thread(), threading.main_thread()}
        return [
            thread
            for thread in threading.enumerate()
            if thread not in known and not _is_infrastructure(thread)
        ]


def _origin(thread: threading.Thread) -> str:
    """Return the module of the code that the thread runs."""
    target = getattr(thread, "_target", None)
    target = getattr(target, "func", target)  # functools.partial
    module = type(thread).__module__ if target is None else getattr(target, "__module__", None)
    return str(module)


def _is_infrastructure(thread: threading.Thread) -> bool:
    if isinstance(thread, threading._DummyThread):
        return True  # a native thread that once called Python: torch's autograd engine, Ray's core
    origin = _origin(thread)
    return (
        origin.partition(".")[0] in _INFRASTRUCTURE
        or origin.startswith(_COMPILE_WORKERS[0])
        or thread.name.startswith(("ray_", "grpc"))
    )


def _ask_to_end(thread: threading.Thread) -> None:
    origin = type(thread).__module__
    if origin.startswith("tqdm."):
        bar = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
        thread.exit()  # type: ignore[attr-defined]
        if bar is not None and bar.monitor is thread:
            bar.monitor = None
    elif origin.startswith(("tensorboardX.", "tensorboard.")) and hasattr(thread, "stop"):
        thread.stop()


class LeftChildren:
    """Child processes that are left are noticed.

    Zombies, `multiprocessing`'s servers and what loads samples for the next trial too do not count.
    """

    name = "child processes"

    def __init__(self) -> None:
        self._known = set(_children())

    def restore(self) -> list[str]:
        left = self._left()
        if not left:
            return []
        _stop_fork_server()
        for process in multiprocessing.active_children():
            if process.pid in left:
                process.join(_GRACE_S)
        return [f"child process {pid} is still running ({_command(pid)})" for pid in self._left()]

    def _left(self) -> list[int]:
        tracker = sys.modules.get("multiprocessing.resource_tracker")
        servers = {getattr(getattr(tracker, "_resource_tracker", None), "_pid", None), *kept_children()}
        candidates = [pid for pid in _children() if pid not in self._known and pid not in servers]
        return [pid for pid in candidates if not _has_ended(pid) and not _is_kept(pid)]


def _tids() -> Iterator[int]:
    try:
        return iter([int(name) for name in os.listdir(_TASKS)])  # noqa: PTH208 - names, ten times a second
    except OSError:
        return iter((0,))


def _children() -> list[int]:
    """Process ids of the direct children, of whichever thread."""
    found: list[int] = []
    for tid in _tids():
        try:
            found += map(int, (_TASKS / str(tid) / "children").read_text().split())
        except FileNotFoundError:
            continue  # the thread has ended
        except OSError:
            break
    return found or [process.pid for process in multiprocessing.active_children() if process.pid]


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return not any(process.pid == pid for process in multiprocessing.active_children())


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return "?"


def _is_kept(pid: int) -> bool:
    command = _command(pid)
    return any(word in command for word in _KEPT_CHILDREN)


def _stop_fork_server() -> None:
    """End the server, which forks from the state of the trial that started it; not one that is in use."""
    if any(type(process).__name__ == "ForkServerProcess" for process in multiprocessing.active_children()):
        return  # its children keep it alive: it would be waited for
    module: Any = sys.modules.get("multiprocessing.forkserver")
    server: Any = getattr(module, "_forkserver", None)
    if server is not None and server._forkserver_pid is not None:
        server._stop()
