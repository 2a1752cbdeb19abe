"""The validation loss: over the whole set, and over one random batch beside a training step.

Neither touches what training sees: the model's modes, the global random states and the curves are the same
with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.training.ranks import share_buffers, sum_over_ranks, to_device
from orchestrator.training.samples import Samples, Shard, val_batch_indices
from orchestrator.training.streams import preserved_random_state
from orchestrator.training.task import Batch, Outputs, Task


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, and every module back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with preserved_random_state(), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Validator:
    """Measures a model on the validation set of a task."""

    task: Task
    samples: Samples
    shard: Shard
    device: torch.device
    autocast: torch.autocast

    def batch_loss(self, model: nn.Module, step: int) -> float:
        """Loss of the random validation batch that belongs to `step`; this rank alone."""
        indices = val_batch_indices(self.samples.count, self.shard.batch_size, self.task.streams, step)
        with evaluating(model):
            batch = to_device(self.samples.take(indices), self.device)
            return float(self._forward(model, batch)[1])

    def full(self, model: nn.Module) -> dict[str, float]:
        """{"val/loss", "val/<score>", "val/<metric>"} over every validation sample once; same on all ranks"""
        share_buffers(model, self.shard.world_size)
        metrics = {name: metric.to(self.device) for name, metric in self.task.metrics().items()}
        totals: dict[str, float] = {}
        with evaluating(model):
            count = 0
            for indices in self.shard.val_indices(self.samples.count):
                batch = to_device(self.samples.take(indices), self.device)
                outputs, loss = self._forward(model, batch)
                _add(totals, "loss", loss.double() * len(indices))
                for name, values in self.task.scores(outputs, batch).items():
                    _add(totals, name, values.double().sum())
                if metrics:
                    inputs = self.task.metric_inputs(outputs, batch)
                    for metric in metrics.values():
                        metric.update(*inputs)
                count += len(indices)
            computed = {f"val/{name}": float(metric.compute()) for name, metric in metrics.items()}
            return self._gather(totals, count) | computed

    def _forward(self, model: nn.Module, batch: Batch) -> tuple[Outputs, Tensor]:
        with self.autocast:
            outputs = self.task.forward(model, batch)
            return outputs, self.task.loss(outputs, batch).detach()

    def _gather(self, totals: dict[str, float], count: int) -> dict[str, float]:
        names = list(totals)
        if self.shard.world_size > self.samples.count:
            raise ValueError(
                f"{self.samples.count} validation samples cannot be shared by {self.shard.world_size} ranks"
            )
        local = [*(totals[name] for name in names), float(count)]
        *sums, samples = sum_over_ranks(local, self.shard.world_size, self.device)
        return {f"val/{name}": total / samples for name, total in zip(names, sums, strict=True)}


def _add(totals: dict[str, float], name: str, value: Tensor) -> None:
    totals[name] = totals.get(name, 0.0) + float(value)


@dataclass
class Pace:
    """When the next validation batch is due, so that all of them cost at most `share` of the training time.

    The clock is the caller's: it says how long steps and validation batches took.
    """

    every: int | str
    """Steps between two; 0: never; "auto": as often as the share allows."""
    share: float = 0.05
    train_s: float = 0.0
    val_s: float = 0.0
    latest_s: float = 0.0
    steps: int = 0

    def due(self, step: int) -> bool:
        """Is one due after training step `step` (from 1)?"""
        if isinstance(self.every, int):
            return self.every > 0 and step % self.every == 0
        # Before the first one is measured it is taken to cost as much as a training step.
        expected_s = self.latest_s or self.train_s / max(1, self.steps)
        return self.steps > 0 and self.val_s + expected_s <= self.share * self.train_s

    def trained(self, seconds: float) -> None:
        """A training step took this long."""
        self.train_s += seconds
        self.steps += 1

    def validated(self, seconds: float) -> None:
        """A validation batch took this long."""
        self.val_s += seconds
        self.latest_s = seconds
