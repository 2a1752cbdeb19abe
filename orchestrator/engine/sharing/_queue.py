"""Studies that begin after others: a place in a queue, kept by a file that is locked until its study ended.

Who waits holds nothing of the machine. It waits for every study of this user that came before it, runs, waits
for room or stands in the queue: one that has its turn keeps its place while it runs, and who dies leaves it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from orchestrator.engine.sharing._claims import POLL_S, StudyRegister
from orchestrator.engine.sharing._entries import living, put, write
from orchestrator.engine.sharing._share import Tenant
from orchestrator.record.privatedir import is_private, make_private


@dataclass(frozen=True)
class Queued:
    """A study in the queue. `since`: when it came, in ns; `waits`: it has not had its turn yet.

    `cancelled`: somebody has asked it not to wait any longer.
    """

    study: str
    root: str
    pid: int
    since: int
    waits: bool = True
    cancelled: bool = False


_QUEUED = TypeAdapter(Queued)


def in_front(mine: Queued, tenants: Iterable[Tenant], queue: Iterable[Queued]) -> list[str]:
    """Return the studies that have to end before this one begins, in the order in which they came."""
    came: list[Tenant | Queued] = [*queue, *tenants]
    there: dict[tuple[int, str], Tenant | Queued] = {}
    for one in sorted(came, key=lambda one: one.since):
        if one.since < mine.since:
            there.setdefault((one.pid, one.root), one)
    return [f"{one.study} (process {one.pid})" for one in there.values()]


@dataclass(frozen=True)
class StudyQueue:
    """The studies of this user that wait on this machine until others have ended."""

    register: StudyRegister

    @classmethod
    def here(cls) -> StudyQueue:
        """Return the one beside Ray's sessions, as `StudyRegister.here`."""
        return cls(StudyRegister.here())

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.register.folder / "queue"

    def waiting(self) -> list[tuple[Queued, list[str]]]:
        """Return who waits here, as they came, each with those for whom; none where nothing can be read."""
        with suppress(OSError):
            if is_private(self.folder):
                with self.register.locked():
                    tenants, queue = self.register.held(), self._queue()
                return [(one, in_front(one, tenants, queue)) for one in queue if one.waits]
        return []

    def cancel(self, root: str) -> list[Queued]:
        """Ask those not to wait any longer that wait to run the study in a directory; returns them."""
        found = []
        with suppress(OSError):
            if is_private(self.folder):
                with self.register.locked():
                    for path, one in living(self.folder, _QUEUED):
                        if one.root == root and one.waits:
                            with path.open("r+b") as file:
                                write(file, asdict(replace(one, cancelled=True)))
                            found.append(one)
        return found

    @contextmanager
    def turn(
        self,
        study: str,
        root: str,
        note: Callable[[str], None],
        pause: Callable[[], None] = lambda: time.sleep(POLL_S),
    ) -> Iterator[bool]:
        """Wait until those in front have ended, and keep the place while the block lasts.

        Yields whether it is the study's turn: False where somebody has cancelled it. `note` is told for whom
        it waits. Where no directory can be made there is nobody to wait for, and that is told.
        """
        try:
            make_private(self.register.folder)
            make_private(self.folder)
        except OSError:
            note(f"{self.folder} cannot be used: other studies on this machine are not seen, nor waited for")
            yield True
            return
        with ExitStack() as stack:
            with self.register.locked():
                mine = Queued(study, root, os.getpid(), time.time_ns())
                file = put(self.folder / f"{mine.since}-{mine.pid}.json", stack)
                write(file, asdict(mine))
            told: list[str] = []
            while True:
                with self.register.locked():
                    queue = self._queue()
                    mine = next((one for one in queue if one.since == mine.since), mine)
                    others = in_front(mine, self.register.held(), queue)
                    if not others and not mine.cancelled:
                        write(file, asdict(replace(mine, waits=False)))
                if mine.cancelled or not others:
                    break
                if others != told:
                    note(f"waiting for {', '.join(others)} to end. Nothing has begun; Ctrl-C gives up")
                told = others
                pause()
            yield not mine.cancelled

    def _queue(self) -> list[Queued]:
        """Return those whose process lives, as they came. The lock of all is held."""
        found = (one for _, one in living(self.folder, _QUEUED))
        return sorted(found, key=lambda one: one.since)
