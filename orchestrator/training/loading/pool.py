"""The worker processes of a process: torch's DataLoader over requests, kept between epochs and trials.

They are forked from multiprocessing's fork server, which has imported torch and nothing of the user's:
forking a process that runs Ray, CUDA or threads is not safe, and a fresh one imports torch for seconds.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.forkserver
import os
import shutil
import signal
import sys
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch.utils.data import DataLoader

from orchestrator.training.loading._slots import Lending, SentBatch, size_of
from orchestrator.training.loading._worker import (
    NOTHING,
    Fetching,
    Ordered,
    Sent,
    TrialPickler,
    as_it_is,
    end_with_parent,
)
from orchestrator.training.loading.source import BatchSource, Request
from orchestrator.training.task import Batch

_SHM = Path("/dev/shm")  # noqa: S108 - where torch passes tensors between processes
_CACHED_AS = "loader"
_HELD = 4
"""Batches that a trial may hold beside those on their way; further ones travel as torch sends them."""
MORE_MEMORY = (
    "start the container with more (docker: --shm-size=8g; Kubernetes: an emptyDir with medium: Memory on "
    "/dev/shm), or lower data.num_workers or data.prefetch_factor, or set data.num_workers: 0"
)


class WorkersLost(RuntimeError):
    """Worker processes of the loader have died; the text says what may have killed them."""


class CannotBeSent(ValueError):
    """What the batches are made of cannot be sent to another process; the text says why and what to do."""


@dataclass(frozen=True)
class PoolSettings:
    """How many processes load, and how far ahead."""

    workers: int
    prefetch: int
    pin_memory: bool


@dataclass
class _Orders:
    """What the DataLoader takes for a sampler; remembers what was ordered and has not come yet."""

    folder: str = ""
    files: tuple[Sent, Sent] = (NOTHING, NOTHING)
    requests: Iterator[Request] = field(default_factory=lambda: iter(()))
    under_way: deque[Request] = field(default_factory=deque)
    lendings: list[Lending] = field(default_factory=list)
    """Slots for what is ordered from now on, behind those of earlier orders, which were smaller."""

    def __iter__(self) -> Iterator[Ordered]:
        del self.lendings[:-1]  # every worker has answered, or dropped, what came before
        for lending in self.lendings:
            lending.take_back()
        for request in self.requests:
            self.under_way.append(request)
            slot = self.lendings[-1].lend() if self.lendings else None
            yield Ordered(*self.files, self.folder, request, slot)


class _Loader(DataLoader[Any]):
    def check_worker_number_rationality(self) -> None:
        """Let there be more workers than cores: they may wait for a disk (`check` measures what is best)."""


class _SentFile:
    """A file without a name, which other processes open through this one."""

    def __init__(self) -> None:
        self._close: Callable[[], object] = lambda: None
        self.sent = NOTHING

    def replace(self, content: IO[bytes]) -> None:
        """Give out another file; it lives as long as this object or until the next one."""
        content.flush()
        self._close()
        fd = os.dup(content.fileno())
        self._close = weakref.finalize(self, os.close, fd)
        self.sent = Sent(self.sent.serial + 1, f"/proc/{os.getpid()}/fd/{fd}")


class _Hashing:
    """Writes to a file, and knows the digest of what was written."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink, self._hash = sink, hashlib.blake2b(digest_size=16)

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._sink.write(data)

    def digest(self) -> bytes:
        return self._hash.digest()


class WorkerPool:
    """Batches from worker processes, in the order in which they are asked for."""

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self._datasets = _SentFile()
        self._digest = b""
        self._trial = _SentFile()
        self._orders = _Orders()
        context = multiprocessing.get_context("forkserver")
        # Ray's worker is imported again as the main module of every process; from here that takes no time
        heavy = [name for name in ("ray",) if name in sys.modules]
        context.set_forkserver_preload([*heavy, "torch.utils.data", Fetching.__module__])
        self._loader: Any = _Loader(
            Fetching(),  # type: ignore[arg-type]
            batch_size=None,
            sampler=self._orders,
            num_workers=settings.workers,
            prefetch_factor=settings.prefetch,
            pin_memory=settings.pin_memory,
            persistent_workers=True,
            collate_fn=as_it_is,
            multiprocessing_context=context,
            worker_init_fn=end_with_parent,
            generator=torch.Generator(),  # the global one is the trial's
        )
        self._batches: Any = None
        _POOLS.add(self)

    def send(self, source: BatchSource) -> None:
        """Hand over what the trial's batches are made of; what the workers have already is not sent again.

        Raises:
            CannotBeSent: it cannot be pickled.
        """
        bases = list({id(samples.dataset): samples.dataset for samples in source.samples.values()}.values())
        try:
            with tempfile.TemporaryFile(prefix="loader-") as draft:
                hashing = _Hashing(draft)
                TrialPickler(hashing).dump(bases)
                if hashing.digest() != self._digest:
                    self._datasets.replace(draft)
                    self._digest = hashing.digest()
            with tempfile.TemporaryFile(prefix="loader-") as draft:
                TrialPickler(draft, bases).dump(source)
                self._trial.replace(draft)
        except Exception as error:
            raise CannotBeSent(
                f"the data cannot be sent to worker processes ({type(error).__name__}: {error}); define the "
                "dataset at the top level of a module and open files in __getitem__, or set "
                "data.num_workers: 0"
            ) from error
        self._orders.files = (self._datasets.sent, self._trial.sent)
        self._orders.folder = str(Path.cwd())

    def begin(self, requests: Iterator[Request]) -> None:
        """Have these loaded from now on; what was under way is dropped."""
        self._orders.requests = requests
        self._orders.under_way.clear()
        self._batches = self._guarded(lambda: iter(self._loader))

    @property
    def next(self) -> Request | None:
        """The request that `take` answers; None: nothing is under way."""
        return self._orders.under_way[0] if self._orders.under_way else None

    def take(self) -> Batch:
        """Return the batch of the request that is next; waits for it.

        Raises:
            WorkersLost: a worker process has died.
            Exception: what the dataset raised, with the worker's traceback.
        """
        self._orders.under_way.popleft()
        found: Batch | SentBatch = self._guarded(lambda: next(self._batches))
        batch = found.opened() if isinstance(found, SentBatch) else found
        self._make_room(size_of(batch))
        return batch

    def _make_room(self, needed: int) -> None:
        """Have slots for batches of so many bytes, for what is ordered from now on."""
        lendings = self._orders.lendings
        if needed and not (lendings and lendings[-1].size >= needed):
            ahead = self.settings.workers * self.settings.prefetch
            lendings.append(Lending(ahead + _HELD, needed))

    @property
    def alive(self) -> bool:
        """Have its processes started, and do all of them live?"""
        return self._loader is not None and all(worker.is_alive() for worker in self.workers)

    @property
    def workers(self) -> list[Any]:
        """Its processes."""
        return list(getattr(getattr(self._loader, "_iterator", None), "_workers", ()))

    @property
    def threads(self) -> set[threading.Thread]:
        """Threads of this process that serve it."""
        iterator = getattr(self._loader, "_iterator", None)
        queues = [*getattr(iterator, "_index_queues", ()), getattr(iterator, "_worker_result_queue", None)]
        found = [getattr(queue, "_thread", None) for queue in queues]
        return {t for t in (*found, getattr(iterator, "_pin_memory_thread", None)) if t is not None}

    def close(self) -> None:
        """End the processes."""
        self._batches = self._loader = None  # torch's loader ends them when it is collected
        self._orders.under_way.clear()
        self._orders.lendings.clear()
        _POOLS.discard(self)

    def _guarded(self, call: Any) -> Any:
        try:
            return call()
        except RuntimeError as error:
            codes = {worker.exitcode for worker in self.workers} - {None}
            if not codes:
                raise
            self.close()
            raise WorkersLost(_why(codes)) from error


_POOLS: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def pool_of(cache: MutableMapping[str, Any], settings: PoolSettings) -> WorkerPool:
    """Return the pool that the cache keeps, or another one with these settings in its place."""
    kept: WorkerPool | None = cache.get(_CACHED_AS)
    if kept is not None and kept.alive and kept.settings == settings:
        return kept
    end_workers(cache)
    cache[_CACHED_AS] = WorkerPool(settings)
    return cache[_CACHED_AS]  # type: ignore[no-any-return]


def end_workers(cache: MutableMapping[str, Any]) -> None:
    """End the worker processes that a cache keeps, if there are any."""
    kept: WorkerPool | None = cache.pop(_CACHED_AS, None)
    if kept is not None:
        kept.close()


def kept_children() -> set[int]:
    """Return processes that belong to loaders which this process keeps for its next trial."""
    found = {worker.pid for pool in list(_POOLS) for worker in pool.workers}
    if found:  # they are the server's children
        server: Any = getattr(multiprocessing.forkserver, "_forkserver", None)
        found.add(getattr(server, "_forkserver_pid", None))
    return found - {None}


def kept_threads() -> set[threading.Thread]:
    """Return threads that belong to loaders which this process keeps for its next trial."""
    return {thread for pool in list(_POOLS) for thread in pool.threads}


def shortage(batch: Batch, settings: PoolSettings) -> str | None:
    """Return what is missing for so many batches ahead in the memory through which they are passed."""
    needed = sum(value.nbytes for value in batch.values()) * (settings.workers * settings.prefetch + 2)
    if not _SHM.is_dir() or (free := shutil.disk_usage(_SHM).free) >= needed:
        return None
    return (
        f"batches on their way need {needed / 2**20:,.0f} MiB of {_SHM}, which has {free / 2**20:,.0f} left"
    )


def _why(codes: set[int]) -> str:
    """Return what may have ended worker processes that had these exit codes."""
    signals = ", ".join(sorted(signal.Signals(-code).name if code < 0 else f"exit {code}" for code in codes))
    said = f"worker processes of the loader have died ({signals})"
    if -signal.SIGBUS in codes and _SHM.is_dir():
        free = shutil.disk_usage(_SHM).free / 2**20
        return f"{said}: {_SHM}, through which batches are passed, has {free:,.0f} MiB left; {MORE_MEMORY}"
    if -signal.SIGKILL in codes:
        return f"{said}: probably for memory, which every one of them needs; lower data.num_workers"
    return (
        f"{said}: a library that a dataset uses has crashed; data.num_workers: 0 shows it in the trial itself"
    )
