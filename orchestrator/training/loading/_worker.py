"""A worker process of the loader: it outlives trials, and is told with each request which one asks.

What a trial's batches need lies in two files without a name that the trial's process holds open: its
datasets, which several trials share, and what is the trial's own. A worker reads each of them once.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import threading
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import IO, Any, NamedTuple

from orchestrator.training.loading._slots import Borrowed, SentBatch, Slot
from orchestrator.training.loading.source import BatchSource, Request
from orchestrator.training.task import Batch


class Sent(NamedTuple):
    """A file that the trial's process holds open; its path may come again, its number does not."""

    serial: int
    path: str


NOTHING = Sent(0, "")


class Ordered(NamedTuple):
    """A request, and where the worker finds what it needs for it."""

    datasets: Sent
    trial: Sent
    folder: str
    """The trial's working directory."""
    request: Request
    slot: Slot | None
    """Where the batch goes; None: torch finds it a place."""


class TrialPickler(pickle.Pickler):
    """Writes what is sent; datasets that were sent before by their number, and classes by their names.

    Data are kept from trial to trial, while each of them imports the user's modules anew: what the data are
    made of is then no longer what its name is bound to.
    """

    def __init__(self, sink: Any, datasets: Sequence[object] = ()) -> None:
        super().__init__(sink, pickle.HIGHEST_PROTOCOL)
        self._numbers = {id(dataset): number for number, dataset in enumerate(datasets)}

    def reducer_override(self, obj: object) -> Any:
        """Write a class or function of an earlier import by its name."""
        if isinstance(obj, type | FunctionType):
            try:
                now = _named(obj.__module__, obj.__qualname__)
            except (ImportError, AttributeError):
                return NotImplemented
            if now is not obj:
                return _named, (obj.__module__, obj.__qualname__)
        return NotImplemented

    def persistent_id(self, obj: object) -> int | None:
        """Return the number of a dataset, None of everything else."""
        return self._numbers.get(id(obj))


def _named(module: str, name: str) -> Any:
    return attrgetter(name)(importlib.import_module(module))


class _TrialUnpickler(pickle.Unpickler):
    def __init__(self, source: IO[bytes], datasets: Sequence[object]) -> None:
        super().__init__(source)
        self._datasets = datasets

    def persistent_load(self, pid: int) -> object:
        return self._datasets[pid]


class Fetching:
    """What torch's DataLoader takes for a dataset: from an order to a batch."""

    def __init__(self) -> None:
        self._read: tuple[Sent, Sequence[object]] = (NOTHING, ())
        self._trial: tuple[Sent, BatchSource | None] = (NOTHING, None)
        self._borrowed = Borrowed()

    def __getitem__(self, order: Ordered) -> Batch | SentBatch:
        """Return the batch of an order."""
        try:
            source = self._source(order)
        except Exception as error:
            raise RuntimeError(
                f"a worker process of the loader cannot load the dataset ({type(error).__name__}: {error}); "
                "its class has to be at the top level of a module, or set data.num_workers: 0"
            ) from error
        if order.slot is None:
            return source.sent(order.request)
        return self._borrowed.fill(order.slot, lambda: source.sent(order.request))

    def _source(self, order: Ordered) -> BatchSource:
        name, source = self._trial
        if source is not None and name == order.trial:
            return source
        self._trial = (NOTHING, None)
        os.chdir(order.folder)
        if self._read[0] != order.datasets:
            self._read = (NOTHING, ())  # what it was is free before the next is there
            with Path(order.datasets.path).open("rb") as file:
                self._read = (order.datasets, pickle.load(file))  # noqa: S301 - written by the trial's process
        with Path(order.trial.path).open("rb") as file:
            made: BatchSource = _TrialUnpickler(file, self._read[1]).load()
        self._trial = (order.trial, made)
        return made


def as_it_is(batch: Any) -> Any:
    """Return the batch: `Fetching` has made it."""
    return batch


def end_with_parent(number: int) -> None:
    """Let this process end as soon as the one that started it has, however that ended."""
    del number
    parent: Any = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
