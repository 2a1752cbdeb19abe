"""Memory through which batches come from worker processes, used again and again.

A tensor that torch sends to another process lies in a file of its own: the kernel zeroes its pages, maps them
page by page and throws them away, for every batch. Here a worker writes a batch into a slot of one file
without a name, and the slot is free again when nothing of the batch is left in the process that reads it.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orchestrator.training.data.collate import stacking_into
from orchestrator.training.task import Batch

_ALIGNED = 64
"""Bytes: every tensor begins at a multiple of it."""
_SERIALS = count(1)
_LENDING: weakref.WeakValueDictionary[int, Lending] = weakref.WeakValueDictionary()


class Slot(NamedTuple):
    """A place for one batch: where it lies in which file; a path may come again, a serial does not."""

    serial: int
    path: str
    start: int
    size: int


class _Place(NamedTuple):
    """Where in a slot a tensor lies."""

    at: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def size_of(batch: Batch) -> int:
    """Return how many bytes the tensors of a batch take in a slot."""
    return sum(_aligned(value.nbytes) for value in batch.values() if isinstance(value, Tensor))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


class Lending:
    """The slots of the process that reads."""

    def __init__(self, slots: int, needed: int) -> None:
        """`needed`: bytes of a batch; there is room for somewhat larger ones. Untouched memory is none."""
        self.size = 1 << max(12, (needed - 1).bit_length())
        self._serial = next(_SERIALS)
        fd = os.memfd_create("batches", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, fd)
        os.ftruncate(fd, slots * self.size)
        self._path = f"/proc/{os.getpid()}/fd/{fd}"
        self._memory = memoryview(mmap.mmap(fd, slots * self.size))
        self._free = list(range(0, slots * self.size, self.size))
        self._lent: set[int] = set()
        _LENDING[self._serial] = self

    def lend(self) -> Slot | None:
        """Return a slot that nobody has; None: all are in use."""
        if not self._free:
            return None
        start = self._free.pop()  # the one that was used last: others may never be touched
        self._lent.add(start)
        return Slot(self._serial, self._path, start, self.size)

    def take_back(self) -> None:
        """Take back slots whose batches will not be opened. No worker may be writing."""
        self._free.extend(self._lent)
        self._lent.clear()

    def open(self, sent: SentBatch) -> Batch:
        """Return the batch that lies in a slot; the slot is free when the last of its tensors is gone."""
        start = sent.slot.start
        self._lent.discard(start)
        held = self._memory[start : start + self.size]
        weakref.finalize(held, self._free.append, start).atexit = False
        return {
            name: _tensor(held, value) if isinstance(value, _Place) else value
            for name, value in sent.values.items()
        }


def _tensor(memory: memoryview, place: _Place) -> Tensor:
    """Return what lies there; it keeps the memory as long as it lives."""
    found = torch.frombuffer(memory, dtype=place.dtype, offset=place.at, count=math.prod(place.shape))
    return found.view(place.shape)


class SentBatch:
    """A batch on its way: tensors by their place in the slot, and what lies elsewhere as it is."""

    def __init__(self, slot: Slot, values: dict[str, Any]) -> None:
        self.slot, self.values = slot, values

    def opened(self) -> Batch:
        """Return the batch, in the process that has lent the slot."""
        return _LENDING[self.slot.serial].open(self)

    def pin_memory(self, *_: object) -> Batch:
        """Return a copy in page-locked memory: torch's thread asks for it."""
        return {
            name: value.pin_memory() if isinstance(value, Tensor) else value
            for name, value in self.opened().items()
        }


class Borrowed:
    """The slots of a worker process."""

    def __init__(self) -> None:
        self._file: tuple[int, memoryview] | None = None

    def fill(self, slot: Slot, make: Callable[[], Batch]) -> SentBatch:
        """Make a batch, in the slot as far as it can be, else beside it."""
        page = _Page(self._of(slot))
        with stacking_into(page.room):
            batch = make()
        return SentBatch(slot, {name: page.place(value) for name, value in batch.items()})

    def _of(self, slot: Slot) -> memoryview:
        if self._file is None or self._file[0] != slot.serial:
            self._file = None  # what it was is free before the next is there
            with Path(slot.path).open("r+b") as file:
                self._file = slot.serial, memoryview(mmap.mmap(file.fileno(), 0))
        return self._file[1][slot.start : slot.start + slot.size]


class _Page:
    """A slot as it is being filled."""

    def __init__(self, memory: memoryview) -> None:
        self._memory, self._used = memory, 0
        self._starts: dict[int, int] = {}
        """Of each piece that was given out: where it lies in this process, where in the slot."""

    def room(self, shape: torch.Size, dtype: torch.dtype) -> Tensor | None:
        """Return a tensor in the slot, or None where there is no more room."""
        at, needed = self._used, _aligned(shape.numel() * dtype.itemsize)
        if not needed or at + needed > len(self._memory):
            return None
        self._used += needed
        piece = _tensor(self._memory, _Place(at, tuple(shape), dtype))
        self._starts[piece.data_ptr()] = at
        return piece

    def place(self, value: Any) -> Any:
        """Return where a tensor lies in the slot, brought there if it was not; anything else as it is."""
        if type(value) is not Tensor or value.layout != torch.strided:
            return value
        if value.device.type != "cpu" or value.requires_grad or value.is_conj() or value.is_neg():
            return value
        at = self._starts.get(value.data_ptr()) if value.is_contiguous() else None
        if at is None:
            room = self.room(value.shape, value.dtype)
            if room is None:
                return value
            at = self._starts[room.copy_(value).data_ptr()]
        return _Place(at, tuple(value.shape), value.dtype)
