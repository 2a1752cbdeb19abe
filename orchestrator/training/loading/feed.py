"""Which batch comes next: out of the worker processes where it was planned, else fetched here and now."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Literal

from orchestrator.training.loading.pool import CannotBeSent, PoolSettings, WorkerPool, pool_of
from orchestrator.training.loading.source import BatchSource, Request
from orchestrator.training.samples import Samples
from orchestrator.training.task import Batch, Task

log = logging.getLogger(__name__)


class Feed:
    """The batches of a trial. Where they come from changes when they come, not what is in them."""

    def __init__(self, source: BatchSource, pool: WorkerPool | None = None, augmented: bool = False) -> None:
        """`pool` loads what is no tensor in memory; `augmented`: what comes out of it is so already."""
        self._source, self._pool, self.augmented = source, pool, augmented

    @property
    def settings(self) -> PoolSettings | None:
        """How many processes load; None: the trial's own loads."""
        return None if self._pool is None else self._pool.settings

    def begin(self, requests: Iterable[Request]) -> None:
        """Say what will be asked for from now on, in this order; it is loaded ahead."""
        if self._pool is not None:
            memory = {part for part, samples in self._source.samples.items() if samples.in_memory}
            self._pool.begin(request for request in requests if request.part not in memory)

    def expects(self, request: Request) -> bool:
        """Is this the one that is loaded already, or need not be?"""
        if self._pool is None or self._source.samples[request.part].in_memory:
            return True
        return self._pool.next == request

    def take(self, request: Request) -> Batch:
        """Return the batch of a request; one that was not planned disturbs nothing."""
        if self._pool is None or self._pool.next != request:
            return self._source.batch(request)
        batch = self._source.received(self._pool.take(), request)
        return batch if self.augmented else self._source.augmented(batch, request)

    def each(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """Yield the batches of requests."""
        yield from map(self.take, requests)


def feed_for(
    task: Task,
    samples: Mapping[str, Samples],
    settings: PoolSettings,
    wanted: int | Literal["auto"],
    cache: MutableMapping[str, Any],
    *,
    augmenting: bool = True,
) -> Feed:
    """Return the feed of a trial; `cache` keeps its processes for the next one.

    `wanted`: `data.num_workers` as the config gives it; "auto" does without processes where the data cannot
    be sent to them. `augmenting`: what is trained on is augmented, in whichever process.

    Raises:
        CannotBeSent: processes were asked for, and the data cannot be sent to them.
    """
    augment = task.augment if augmenting else None
    source = BatchSource(samples, task.streams, augment)
    on_disk = {part: each for part, each in samples.items() if not each.in_memory}
    if not on_disk or settings.workers == 0:
        if settings.workers and wanted != "auto":
            log.info(
                "data.num_workers: the samples are tensors in memory, which need no process to load them"
            )
        return Feed(source)
    there = augment if task.augment_in_workers else None
    pool = pool_of(cache, settings)
    try:
        pool.send(BatchSource(on_disk, task.streams, there))
    except CannotBeSent as error:
        if wanted != "auto":
            raise
        log.warning("loading in the trial's own process: %s", error)
        return Feed(source)
    return Feed(source, pool, there is not None)
