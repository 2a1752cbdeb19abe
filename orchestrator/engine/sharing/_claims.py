"""Who has what on this machine: a small file for each study, locked as long as its process lives.

The files lie in a directory of the user's own beside Ray's sessions. A lock ends with its process, however
that ends, so nothing that a killed study has left counts; what changes a file holds the lock of all.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from orchestrator.engine.gateway import temporary
from orchestrator.engine.sharing._entries import living, put, write
from orchestrator.engine.sharing._share import (
    MachineShare,
    Offer,
    Tenant,
    Want,
    amount,
    in_words,
    more,
    named,
    share,
)
from orchestrator.record.privatedir import is_private, make_private

POLL_S = 0.5
_TENANT = TypeAdapter(Tenant)


@dataclass(frozen=True)
class StudyRegister:
    """The studies of this user on this machine."""

    folder: Path

    @classmethod
    def here(cls) -> StudyRegister:
        """Return the one beside Ray's sessions (RAY_TMPDIR, else TMPDIR, else /tmp)."""
        return cls(temporary() / f"orchestrator-studies-{os.getuid()}")

    def tenants(self) -> list[Tenant]:
        """Return the studies that run or wait here, as they came; none where nothing can be read."""
        with suppress(OSError):
            if is_private(self.folder):
                with self.locked():
                    return self.held()
        return []

    @contextmanager
    def claimed(
        self,
        want: Want,
        offer: Offer,
        note: Callable[[str], None],
        pause: Callable[[], None] = lambda: time.sleep(POLL_S),
    ) -> Iterator[Claim]:
        """Wait until there is something for the study, and keep it while the block lasts.

        `note` is told what it waits for, and with whom it shares. Where no directory can be made, everything
        is the study's, and that is told.
        """
        try:
            make_private(self.folder)
            private = True
        except OSError:
            private = False
        if not private:
            note(f"{self.folder} cannot be used: other studies on this machine are not seen")
            yield Claim.of_all(want, offer)
            return
        since = time.time_ns()
        mine = Tenant(
            want.study, want.root, os.getpid(), since, want.priority, want.least, affinity=offer.affinity
        )
        path = self.folder / f"{since}-{os.getpid()}.json"
        with ExitStack() as stack:
            with self.locked():
                file = put(path, stack)
                _write(file, mine)
            entry = _Entry(self, file, mine)
            yield Claim(want, offer, entry.wait(want, offer, note, pause), entry)

    def held(self) -> list[Tenant]:
        """Return those whose process lives; what others have left is removed. The lock of all is held."""
        found = (tenant for _, tenant in living(self.folder, _TENANT))
        return sorted(found, key=lambda tenant: tenant.since)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of all: what is read in this context is so until its end."""
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass
class _Entry:
    """A study as the others see it: `mine`, in a file that is locked."""

    register: StudyRegister
    file: BinaryIO
    mine: Tenant

    def wait(
        self, want: Want, offer: Offer, note: Callable[[str], None], pause: Callable[[], None]
    ) -> MachineShare:
        """Return what the study has, when there is something for it."""
        told = ""
        while True:
            with self.register.locked():
                others = [tenant for tenant in self.register.held() if tenant.since != self.mine.since]
                got = share(offer, want, self.mine.since, others)
                if got is not None:
                    self.show(got)
            if got is not None:
                if others:
                    note(_shares(got, offer, others))
                return got
            needs = f"waiting for {amount(*want.least)} on this machine: {in_words(others)}"
            if needs != told:
                note(f"{needs}. The study starts by itself; resources.max_parallel of the others makes room")
            told = needs
            pause()

    def show(self, got: MachineShare) -> None:
        """Let the others see that the study has this."""
        self.mine = replace(self.mine, cpus=got.cpus, gpus=got.gpus if got.cpus else ())
        _write(self.file, self.mine)


@dataclass
class Claim:
    """What a study has of this machine, `got`, to which it may add. Without an entry nobody sees it."""

    want: Want
    offer: Offer
    got: MachineShare
    entry: _Entry | None = None

    @classmethod
    def of_all(cls, want: Want, offer: Offer) -> Claim:
        """Return one of the whole machine, that no other study sees."""
        return cls(want, offer, MachineShare(offer.cpus, offer.gpus, offer.cpus))

    def more(self, groups: int) -> MachineShare | None:
        """Take what others have left, where the study can use so many groups; None: there is nothing."""
        if self.entry is None or not self.got.groups:
            return None
        want = replace(self.want, groups=min(groups, self.want.groups))
        with self.entry.register.locked():
            found = more(self.offer, want, self.got, self.entry.register.held())
            if found is not None:
                self.keep(self.got + found)
        return found

    def keep(self, got: MachineShare) -> None:
        """Have this from now on."""
        self.got = got
        if self.entry is not None:
            self.entry.show(got)


def _write(file: BinaryIO, tenant: Tenant) -> None:
    write(file, {**asdict(tenant), "affinity": sorted(tenant.affinity)})


def _shares(got: MachineShare, offer: Offer, others: list[Tenant]) -> str:
    gpus = f", {len(got.gpus)} of {len(offer.gpus)} GPUs ({named(got.gpus)})" if got.gpus else ""
    return (
        f"shares this machine: {got.cpus:g} of {offer.cpus:g} CPUs{gpus} are this study's; {in_words(others)}"
    )
