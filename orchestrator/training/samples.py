"""Which samples make up a step, on which rank; and how they are fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.training.streams import Streams
from orchestrator.training.task import ID, Batch, SampleSet, Table


class Samples:
    """Uniform access to a `Table`: tensors are indexed at once, datasets sample by sample."""

    def __init__(self, table: Table) -> None:
        """Raises ValueError when the tensors of a table differ in length or there is no sample."""
        self._tensors: dict[str, Tensor] | None = None
        self._dataset: SampleSet | None = None
        if isinstance(table, Mapping):
            lengths = {name: len(tensor) for name, tensor in table.items()}
            if len(set(lengths.values())) != 1:
                raise ValueError(f"the tensors of a table must have the same length, got {lengths}")
            self._tensors = dict(table)
            self.count = next(iter(lengths.values()))
        else:
            self._dataset = table
            self.count = len(table)
        if self.count == 0:
            raise ValueError("the data holds no sample")

    @property
    def in_memory(self) -> bool:
        """Are the samples tensors, which are indexed at once?"""
        return self._tensors is not None

    def take(self, indices: Tensor) -> Batch:
        """The batch of samples at `indices` ([B] int64), with their ids."""
        if self._tensors is not None:
            batch = {name: tensor[indices] for name, tensor in self._tensors.items()}
        else:
            assert self._dataset is not None
            batch = _stack([self._dataset[int(i)] for i in indices])
        batch.setdefault(ID, indices)
        return batch


def _stack(samples: list[Mapping[str, object]]) -> Batch:
    def column(name: str) -> Tensor:
        values = [sample[name] for sample in samples]
        return torch.stack([v if isinstance(v, Tensor) else torch.as_tensor(v) for v in values])

    return {name: column(name) for name in samples[0]}


@dataclass(frozen=True)
class Shard:
    """One rank's share of the samples.

    All ranks together take the same batches as one rank with batches `world_size` times as large would.
    """

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    world_size: int = 1

    @property
    def samples_per_step(self) -> int:
        """Samples of all ranks and forward passes in one optimiser step."""
        return self.batch_size * self.world_size * self.accumulate

    def steps_per_epoch(self, samples: int) -> int:
        """Whole steps in an epoch; the rest of the (shuffled) samples waits for another epoch.

        Raises:
            ValueError: not enough samples for one step.
        """
        steps = samples // self.samples_per_step
        if steps == 0:
            raise ValueError(
                f"{samples} training samples do not fill one step of {self.samples_per_step} "
                f"(batch size {self.batch_size} × {self.world_size} ranks × {self.accumulate} accumulated)"
            )
        return steps

    def train_indices(self, order: Tensor, step_in_epoch: int) -> Iterator[Tensor]:
        """This rank's indices for each forward pass of a step: `accumulate` tensors of [batch_size]."""
        start = step_in_epoch * self.samples_per_step
        width = self.batch_size * self.world_size
        for first in range(start, start + self.samples_per_step, width):
            yield order[first : first + width][self.rank :: self.world_size]

    def val_indices(self, samples: int) -> Iterator[Tensor]:
        """This rank's indices over the validation set: every sample on exactly one rank, none padded."""
        mine = torch.arange(samples)[self.rank :: self.world_size]
        for first in range(0, len(mine), self.batch_size):
            yield mine[first : first + self.batch_size]


def epoch_order(samples: int, streams: Streams, epoch: int) -> Tensor:
    """[N] int64: the order of the samples in an epoch, the same on every rank."""
    return torch.randperm(samples, generator=streams.generator("order", epoch))


def val_batch_indices(samples: int, size: int, streams: Streams, step: int) -> Tensor:
    """[min(size, N)] int64: the validation batch that goes with a training step, whatever came before it."""
    return torch.randperm(samples, generator=streams.generator("val-batch", step))[:size]
