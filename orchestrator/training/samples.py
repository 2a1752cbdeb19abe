"""Which samples make up a step, on which rank; and how they are fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from orchestrator.training.data.balance import balanced_order
from orchestrator.training.data.collate import stacked
from orchestrator.training.streams import SampleDraws, Streams
from orchestrator.training.task import ID, Batch, Table

Collate = Callable[[Sequence[Mapping[str, Any]]], Batch]


class Samples:
    """Uniform access to a `Table`: tensors are indexed at once, datasets sample by sample."""

    def __init__(self, table: Table, collate: Collate = stacked) -> None:
        """Raise ValueError when the tensors of a table differ in length or there is no sample.

        `collate` makes a batch of the samples of a dataset.
        """
        self._table = table
        self._collate = collate
        self.in_memory = isinstance(table, Mapping)
        """Are the samples tensors, which are indexed at once?"""
        lengths = {name: len(tensor) for name, tensor in table.items()} if isinstance(table, Mapping) else {}
        if self.in_memory and len(set(lengths.values())) != 1:
            raise ValueError(f"the tensors of a table must have the same length, got {lengths}")
        self.count = next(iter(lengths.values())) if self.in_memory else len(table)
        if self.count == 0:
            raise ValueError("the data holds no sample: look at paths, filters and the split in build_data")

    def column(self, name: str) -> Tensor:
        """[N] int64: an integer column of all samples; a dataset's attribute of that name, where it has one.

        Raises:
            ValueError: there is no such column, or it is not one whole number per sample.
        """
        table = self._table
        found: object = table.get(name) if isinstance(table, Mapping) else getattr(table, name, None)
        if found is None and not isinstance(table, Mapping) and name in table[0]:
            # slow: every sample is loaded once
            found = torch.tensor([int(table[i][name]) for i in range(self.count)])
        if isinstance(found, Tensor) and found.shape == (self.count,) and not found.is_floating_point():
            return found.long()
        what = "missing" if found is None else f"{list(getattr(found, 'shape', ()))} {type(found).__name__}"
        raise ValueError(
            f"the column {name!r} of the training samples is {what}, not [{self.count}] whole numbers"
        )

    def take(self, indices: Tensor) -> Batch:
        """Return the batch of samples at `indices` ([B] int64), with their ids."""
        table = self._table
        if isinstance(table, Mapping):
            batch = {name: tensor[indices] for name, tensor in table.items()}
            batch.setdefault(ID, indices)
            return batch
        return self.batch([table[int(i)] for i in indices], indices)

    def one(self, index: int) -> Mapping[str, Any]:
        """Return a sample of a dataset."""
        assert not isinstance(self._table, Mapping)
        return self._table[index]

    def batch(self, samples: Sequence[Mapping[str, Any]], indices: Tensor) -> Batch:
        """Return the batch of those samples of a dataset, with their ids."""
        batch = dict(self._collate(samples))
        batch.setdefault(ID, indices)
        return batch

    @property
    def dataset(self) -> object:
        """The dataset, or the one of which it is a subset."""
        found: Any = self._table
        while type(found) is Subset:
            found = found.dataset
        return found


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
        """Samples of all ranks and forward passes in one optimizer step."""
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
        """Yield this rank's indices for each forward pass of a step: `accumulate` tensors of [batch_size]."""
        start = step_in_epoch * self.samples_per_step
        width = self.batch_size * self.world_size
        for first in range(start, start + self.samples_per_step, width):
            yield order[first : first + width][self.rank :: self.world_size]

    def val_indices(self, samples: int) -> Iterator[Tensor]:
        """Yield this rank's indices over the validation set: every sample on one rank, none padded."""
        mine = torch.arange(samples)[self.rank :: self.world_size]
        for first in range(0, len(mine), self.batch_size):
            yield mine[first : first + self.batch_size]


class TrainingOrder:
    """Which samples an epoch has, and in which order: all of them, or as many of each class.

    Numbers from N on are repetitions within the epoch: number % N is the sample (see `balanced_order`).
    """

    def __init__(self, samples: Samples, streams: Streams, balanced_by: str | None = None) -> None:
        """`balanced_by` names the column of the classes. Raises ValueError when there is no such column."""
        self._samples, self._streams = samples, streams
        self._made: dict[int, Tensor] = {}
        self._labels: Tensor | None = None
        if balanced_by is not None:
            try:
                self._labels = samples.column(balanced_by)
            except ValueError as error:
                raise ValueError(
                    f"data.balanced: {error}; name the column with the classes as Task.label_key"
                ) from None

    def of(self, epoch: int) -> Tensor:
        """[N] int64, the same on every rank."""
        if epoch not in self._made:  # of the epoch that is trained, and of the one that is loaded ahead
            self._made = {k: v for k, v in self._made.items() if abs(k - epoch) == 1} | {
                epoch: self._of(epoch)
            }
        return self._made[epoch]

    def _of(self, epoch: int) -> Tensor:
        if self._labels is None:
            return torch.randperm(self._samples.count, generator=self._streams.generator("order", epoch))
        return balanced_order(self._labels, self._streams, epoch)


def sample_draws(streams: Streams, batch: Batch, repetition: Tensor, epoch: int) -> SampleDraws:
    """Random numbers for augmenting a batch; each repetition of a sample ([B]) in an epoch gets others."""
    return SampleDraws(streams, epoch, batch[ID] + (repetition << _REPETITION_BITS))


_REPETITION_BITS = 40
"""Ids below 2**40 leave room for the repetition above them."""


def val_batch_indices(samples: int, size: int, streams: Streams, step: int) -> Tensor:
    """[min(size, N)] int64: the validation batch that goes with a training step, whatever came before it."""
    return torch.randperm(samples, generator=streams.generator("val-batch", step))[:size]
