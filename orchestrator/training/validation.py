"""The validation loss: over the whole set, and over one random batch beside a training step.

Neither touches what training sees: the model's modes, the global random states and the curves are the same
with and without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from orchestrator.training.loading import Request
from orchestrator.training.ranks import share_buffers, sum_over_ranks
from orchestrator.training.samples import Samples, Shard, val_batch_indices
from orchestrator.training.streams import preserved_random_state
from orchestrator.training.task import Batch, Outputs, Task

if TYPE_CHECKING:
    from orchestrator.training.monitors.watch import Watch
    from orchestrator.training.scores import SampleScores


@dataclass(frozen=True)
class Seen:
    """One validation batch of this rank, on the device, in evaluation mode and without gradients."""

    indices: Tensor
    """[B] int64, on the CPU: places in the validation set; every sample is seen on exactly one rank."""
    batch: Batch
    outputs: Outputs
    loss: Tensor
    """[]: mean over the batch."""


def score_fault(name: str, values: object, size: int) -> str | None:
    """Why this is no score of a batch of `size`, or None when it is: one value per sample, [B]."""
    if isinstance(values, Tensor) and values.shape == (size,):
        return None
    found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
    return f"{name} is {found}, not [{size}]"


ONE_NUMBER = "average over classes, or give a metric per class"


def number_fault(name: str, computed: object) -> str | None:
    """Why this is no value of a metric, or None when it is: one number."""
    try:
        float(computed)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        what = list(computed.shape) if isinstance(computed, Tensor) else type(computed).__name__
        return f"{name} computes {what}, not one number"
    return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode without gradients, and every module back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with preserved_random_state(), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Measured:
    """A set that models are measured on."""

    part: str
    """val or test, which is what its metrics begin with."""
    samples: Samples
    fetch: Callable[[Request], Batch]
    """Return a batch of it on the device."""


@dataclass(frozen=True)
class Validator:
    """Measures a model on the validation set of a task, or on its test set."""

    task: Task
    on: Measured
    shard: Shard
    device: torch.device
    autocast: torch.autocast
    kept: SampleScores | None = None
    """Sees the scores of every sample."""

    @property
    def samples(self) -> Samples:
        """The set."""
        return self.on.samples

    def requests(self) -> Iterator[Request]:
        """Yield what this rank measures: every sample on one rank."""
        for indices in self.shard.val_indices(self.samples.count):
            yield Request(self.on.part, indices)

    def batch_request(self, step: int) -> Request:
        """Return the random batch that belongs to `step`."""
        size = self.shard.batch_size
        return Request(self.on.part, val_batch_indices(self.samples.count, size, self.task.streams, step))

    def batch_loss(self, model: nn.Module, step: int) -> float:
        """Loss of the random validation batch that belongs to `step`; this rank alone."""
        with evaluating(model):
            return float(self._forward(model, self.on.fetch(self.batch_request(step)))[1])

    def full(self, model: nn.Module, watch: Watch | None = None) -> dict[str, float]:
        """{"val/loss", "val/<score>", "val/<metric>"} over every sample once; same on all ranks.

        `watch` is shown every batch.
        """
        share_buffers(model, self.shard.world_size)
        metrics = {name: metric.to(self.device) for name, metric in self.task.metrics().items()}
        totals: defaultdict[str, float] = defaultdict(float)
        with evaluating(model):
            count = 0
            for request in self.requests():
                indices, batch = request.numbers, self.on.fetch(request)
                outputs, loss = self._forward(model, batch)
                totals["loss"] += float(loss.double() * len(indices))
                for name, values in self._scores(outputs, batch, len(indices)).items():
                    totals[name] += float(values.double().sum())
                    if self.kept is not None:
                        self.kept.saw(self.on.part, batch, indices, name, values)
                if metrics:
                    inputs = self.task.metric_inputs(outputs, batch)
                    for metric in metrics.values():
                        metric.update(*inputs)
                count += len(indices)
                if watch is not None:
                    watch.batch(Seen(indices, batch, outputs, loss))
            if watch is not None:
                watch.end_pass()
            computed = {
                f"{self.on.part}/{name}": self._number(name, metric.compute())
                for name, metric in metrics.items()
            }
            return self._gather(totals, count) | computed

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return outputs in the trial's precision."""
        with self.autocast:
            return self.task.forward(model, batch)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the task's loss in the trial's precision."""
        with self.autocast:
            return self.task.loss(outputs, batch)

    def _forward(self, model: nn.Module, batch: Batch) -> tuple[Outputs, Tensor]:
        outputs = self.forward(model, batch)
        return outputs, self.loss(outputs, batch).detach()

    def _scores(self, outputs: Outputs, batch: Batch, size: int) -> Mapping[str, Tensor]:
        scores = self.task.scores(outputs, batch)
        if not isinstance(scores, Mapping):
            raise ValueError(
                f"{self._name}.scores gives a {type(scores).__name__}, not a dict of named scores"
            )
        for name, values in scores.items():
            fault = score_fault(name, values, size)
            if fault is not None:
                raise ValueError(f"{self._name}.scores: {fault}; give one value per sample, not their mean")
        return scores

    def _number(self, name: str, computed: object) -> float:
        if (fault := number_fault(name, computed)) is not None:
            raise ValueError(f"{self._name}.metrics: {fault}; {ONE_NUMBER}")
        return float(computed)  # type: ignore[arg-type]

    @property
    def _name(self) -> str:
        return type(self.task).__name__

    def _gather(self, totals: dict[str, float], count: int) -> dict[str, float]:
        if self.shard.world_size > self.samples.count:
            raise ValueError(
                f"{self.samples.count} samples of {self.on.part} cannot be shared by "
                f"{self.shard.world_size} ranks"
            )
        local = [*totals.values(), float(count)]
        *sums, samples = sum_over_ranks(local, self.shard.world_size, self.device)
        return {f"{self.on.part}/{name}": total / samples for name, total in zip(totals, sums, strict=True)}
