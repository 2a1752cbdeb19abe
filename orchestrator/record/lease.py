"""One driver per study: a lease with a heartbeat.

On the driver's own host its process tells whether it lives, so that a killed driver is replaced at once. From
elsewhere the heartbeat tells. Every beat, and every line of the journal that takes effect, verifies that the
lease is still ours. Leases are numbered; a later one has the higher number, which the journal's lines carry.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr, TypeAdapter

from orchestrator.errors import StudyHeld, UnreadableRecord
from orchestrator.record.jsonlines import from_json, to_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage

STALE_AFTER_S = 30.0
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class _Holder:
    """What a lease says, as far as anything depends on it."""

    host: StrictStr = ""
    pid: StrictInt | None = None
    started: StrictStr | None = None
    user: StrictStr | None = None
    token: StrictStr = ""
    driver: Annotated[StrictInt, Field(ge=0, lt=1_000_000)] = 0


_HOLDER = TypeAdapter(_Holder)


class Lease:
    """The right to drive a study. Made by `acquire`."""

    def __init__(
        self, storage: Storage, paths: StudyPaths, owner: dict[str, Any], clock: Callable[[], float]
    ) -> None:
        self._storage, self._paths, self._clock = storage, paths, clock
        self.owner = owner

    @classmethod
    def acquire(
        cls,
        storage: Storage,
        paths: StudyPaths,
        owner: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        last_driver: Callable[[], int] = lambda: 0,
    ) -> Lease:
        """Take the lease, with a number above all others.

        Args:
            owner: is merged over what `this_process` says.
            last_driver: the highest number that a driver has had, asked for when nobody else can take the
                lease; the lease of a driver that died before its first line counts, too.

        Raises:
            StudyHeld: another live driver holds it; nothing is written then.
        """
        now = clock()
        token = uuid.uuid4().hex
        mine = {**this_process(), **(owner or {}), "token": token, "since": now, "beat": now}
        refuse_if_held(read_lease(storage, paths), now, paths)
        # where there are no locks, `beat` finds out
        with storage.exclusively(f"{paths.control_dir}/.lock"):
            before = read_lease(storage, paths)
            refuse_if_held(before, now, paths)
            number = (before or {}).get("driver")
            mine["driver"] = 1 + max(number if isinstance(number, int) else 0, last_driver())
            storage.write_atomic(paths.lease, to_json(mine))
            lease = cls(storage, paths, mine, clock)
            lease.verify()
        return lease

    @property
    def driver(self) -> int:
        """The number of this lease."""
        return int(self.owner["driver"])

    def beat(self, progress: Mapping[str, Any] | None = None) -> None:
        """Say that we live, and how far the study is. Raises `StudyHeld` when somebody took the lease."""
        self.verify()
        self.owner["beat"] = self._clock()
        self._storage.write_atomic(self._paths.lease, to_json(self.owner))
        if progress is not None:
            self._storage.write_atomic(self._paths.progress, to_json(progress))

    def release(self) -> None:
        """Give the lease back; one that is not ours any more is left alone."""
        now = read_lease(self._storage, self._paths)
        if now is not None and now.get("token") == self.owner["token"]:
            self._storage.delete_file(self._paths.lease)

    def verify(self) -> None:
        """Raise `StudyHeld` when the lease is not ours any more."""
        now = read_lease(self._storage, self._paths)
        if now is None or now.get("token") != self.owner["token"]:
            who = "nobody" if now is None else describe(now)
            raise StudyHeld(f"the lease of {self._paths.root} was lost; it is held by {who}")


def outlast(
    storage: Storage,
    paths: StudyPaths,
    say: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Return once no driver lives: at once, or when the heartbeat of one elsewhere has gone stale.

    A head that crashed leaves a lease behind; whoever starts the study again would be refused for nothing.

    Returns:
        Whether one was waited for: it may have written more.

    Raises:
        StudyHeld: another driver lives. Known at once on its own host, elsewhere with its next beat.
    """
    heard = read_lease(storage, paths)
    if heard is None or not is_alive(heard, clock()):
        return False
    if not _is_here(heard):
        say(f"{describe(heard)} has the study: waiting up to {STALE_AFTER_S:g} s for a sign of its life")
        began = clock()
        while clock() - began < STALE_AFTER_S:
            pause(LOOK_EVERY_S)
            owner = read_lease(storage, paths)
            if owner is None or not is_alive(owner, clock()):
                return True
            if owner != heard:
                break
    refuse_if_held(read_lease(storage, paths), clock(), paths)
    return True


def read_lease(storage: Storage, paths: StudyPaths) -> dict[str, Any] | None:
    """Return the owner that the lease names, alive or not; None when there is no (readable) lease."""
    try:
        owner: dict[str, Any] = from_json(storage.read_bytes(paths.lease))
        _HOLDER.validate_python(owner)
    except (FileNotFoundError, UnreadableRecord, ValueError):
        return None
    return owner


def is_alive(owner: Mapping[str, Any], now: float) -> bool:
    """Whether that driver lives: by its process on the same host, by its heartbeat from elsewhere."""
    if _is_here(owner):
        started = owner.get("started")
        return started is not None and process_start(owner["pid"]) == started
    beat = owner.get("beat")
    return isinstance(beat, (int, float)) and now - beat < STALE_AFTER_S


def _is_here(owner: Mapping[str, Any]) -> bool:
    return owner.get("host") == this_process()["host"] and isinstance(owner.get("pid"), int)


def describe(owner: Mapping[str, Any]) -> str:
    """`host`, process and user of a lease, for messages."""
    parts = [f"process {owner.get('pid')}", f"on {str(owner.get('host', 'an unknown host')).split('/')[0]}"]
    return " ".join(parts + ([f"({owner['user']})"] if owner.get("user") else []))


def this_process() -> dict[str, Any]:
    """`host` (name, boot and process namespace), `pid`, and when the process started."""
    boot = _first_line(Path("/proc/sys/kernel/random/boot_id"))
    pid = os.getpid()
    host = f"{socket.gethostname()}/{boot}/{pid_namespace()}"
    return {"host": host, "pid": pid, "started": process_start(pid)}


def pid_namespace() -> str:
    """Return the name of the namespace that process ids of this process belong to; empty: it is hidden."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """When a process of this host started (an opaque word), or None when there is none; zombies are dead."""
    stat = _first_line(Path(f"/proc/{pid}/stat"))
    if not stat:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def refuse_if_held(owner: Mapping[str, Any] | None, now: float, paths: StudyPaths) -> None:
    """Raise `StudyHeld` where `owner`, who holds a study's lease, is at it."""
    if owner is not None and is_alive(owner, now):
        raise StudyHeld(
            f"study {paths.root} is run by {describe(owner)}: orchestrate watch shows it, orchestrate stop "
            "ends it; the same command then goes on"
        )


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip()
    except OSError:
        return ""
