"""What belongs to a request for a batch: the same in every process, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from orchestrator.training.samples import Samples, sample_draws
from orchestrator.training.streams import SampleDraws, Streams, keyed_samples
from orchestrator.training.task import ID, TRAIN, Batch

EVALUATION = -1
Augment = Callable[[Batch, SampleDraws], Batch]


@dataclass(frozen=True, eq=False)
class Request:
    """One batch: which samples of which set. Equal requests have equal batches."""

    part: str
    """train, val or test."""
    numbers: Tensor
    """[B] int64: of the samples, out of an epoch's order (see `TrainingOrder`) or of the set."""
    epoch: int = EVALUATION

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same."""
        return (
            isinstance(other, Request)
            and (self.part, self.epoch) == (other.part, other.epoch)
            and torch.equal(self.numbers, other.numbers)
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as plain numbers: a tensor would take a file of its own."""
        return _request, (self.part, self.numbers.tolist(), self.epoch)


def _request(part: str, numbers: list[int], epoch: int) -> Request:
    return Request(part, torch.tensor(numbers), epoch)


class BatchSource:
    """Fetches the batches of one trial; it can be sent to another process when its datasets can."""

    def __init__(self, samples: Mapping[str, Samples], streams: Streams, augment: Augment | None) -> None:
        """`augment` is applied to what is trained on; None: nothing is."""
        self.samples = dict(samples)
        self._streams = streams
        self._augment = augment

    def batch(self, request: Request) -> Batch:
        """Return the batch of a request, on the CPU.

        What a dataset draws from the global generators is keyed by set, epoch and sample, and its operations
        are those of one thread, as in a worker process.
        """
        samples = self.samples[request.part]
        indices = self._indices(request)
        if samples.in_memory:
            batch = samples.take(indices)
        else:
            key = self._streams.seed("sample", request.part, request.epoch)
            with keyed_samples(key) as begin, _one_thread():
                loaded = []
                for number, index in zip(request.numbers.tolist(), indices.tolist(), strict=True):
                    begin(number)
                    loaded.append(samples.one(index))
                batch = samples.batch(loaded, indices)
        return self.augmented(batch, request) if self._augment is not None else batch

    def sent(self, request: Request) -> Batch:
        """Return the batch of a request without the ids that `received` can add: each tensor that is sent
        to another process takes a file.
        """
        batch, ours = self.batch(request), self._indices(request)
        theirs: object = batch[ID]  # a dataset may have its own, of any kind
        if isinstance(theirs, Tensor) and theirs.dtype == ours.dtype and torch.equal(theirs, ours):
            del batch[ID]
        return batch

    def received(self, batch: Batch, request: Request) -> Batch:
        """Return what another process has `sent`, whole."""
        batch.setdefault(ID, self._indices(request))
        return batch

    def _indices(self, request: Request) -> Tensor:
        return request.numbers % self.samples[request.part].count

    def augmented(self, batch: Batch, request: Request, augment: Augment | None = None) -> Batch:
        """Return the batch with what training changes in it."""
        augment = augment or self._augment
        if request.part != TRAIN or request.epoch == EVALUATION or augment is None:
            return batch
        repetition = request.numbers // self.samples[TRAIN].count
        return augment(batch, sample_draws(self._streams, batch, repetition, request.epoch))


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
