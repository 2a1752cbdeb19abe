"""The Task: what a user writes so that the built-in loop can train it. Dicts in, dicts out.

    class Faces(Task):
        def build_data(self, config): ...           # {"train": table, "val": table}
        def build_model(self, config): ...          # nn.Module: batch -> outputs
        def loss(self, outputs, batch): ...         # scalar

Everything else is optional. A *batch* is a dict of tensors whose first dimension is the sample; the loop adds
`"id"` ([B] int64) when the data has none. *Outputs* are a dict of tensors, named by the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from orchestrator.training.data.collate import stacked
from orchestrator.training.settings import LOADER_KEYS
from orchestrator.training.streams import SampleDraws, Streams

Config = Mapping[str, Any]
Batch = dict[str, Tensor]
Outputs = dict[str, Tensor]
Kind = Literal["classification", "multilabel", "regression", "segmentation", "language", "generation"]

TRAIN = "train"
VAL = "val"
TEST = "test"
ID = "id"


@runtime_checkable
class SampleSet(Sized, Protocol):
    """A map-style dataset whose samples are dicts of tensors or numbers (no batch dimension)."""

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


Table = Mapping[str, Tensor] | SampleSet
"""Samples: named tensors that share their first dimension [N, ...] (fast: indexed directly), or a dataset."""


class Optimizer(Protocol):
    """What the loop needs of an optimizer; every `torch.optim.Optimizer` has it."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any: ...
    def zero_grad(self) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class Scheduler(Protocol):
    """What the loop needs of a scheduler; every one of `torch.optim.lr_scheduler` has it."""

    def step(self, *args: Any) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Task:
    """One thing to train. Subclass it; the loop makes one instance per trial and rank."""

    data_keys: ClassVar[tuple[str, ...] | None] = None
    """Keys of `config["data"]` that determine what `build_data` returns; None stands for all of them.
    While these stay the same, a process keeps the data between trials."""
    classes: ClassVar[int | None] = None
    """Number of classes, where the task has them: `check` then knows the first loss and valid labels."""
    lowest_loss: ClassVar[float | None] = 0.0
    """Loss on a few samples that are known by heart; None: unknown, `check` does not overfit them."""

    label_key: ClassVar[str] = "label"
    """The column with the class of a sample, for `data.balanced: true` in the config."""

    augment_in_workers: ClassVar[bool] = False
    """May `augment` be called by the worker processes that load the samples? For one that follows from its
    arguments and the config alone, and not from what the task has seen meanwhile."""
    scheduler_every: ClassVar[Literal["step", "epoch"]] = "step"
    """How often what `scheduler` returns is stepped."""

    kind: ClassVar[Kind | None] = None
    """What is predicted; the monitors follow it. None: only those that need no predictions."""
    class_names: ClassVar[Sequence[str]] = ()
    """Names of the classes, for tables and pictures; numbers where there are none."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "optimiser" in vars(cls):  # it would be ignored without a word
            raise TypeError(
                f"{cls.__name__}.optimiser: this hook is spelled `optimizer` now, as torch spells it"
            )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.streams = Streams(int(config["seed"]))

    # --- what every task has -------------------------------------------------------------------------
    def build_data(self, config: Config) -> Mapping[str, Table]:
        """Return the data, as {"train": table, "val": table} or in any form that `split_data` turns into
        that; with a "test" table, test/<score> is reported beside val/<score>.

        May depend on `data_keys` of the config only, not on the seed; the result is kept between trials
        and must not be changed in place.
        """
        raise NotImplementedError(f"{type(self).__name__}.build_data")

    def build_model(self, config: Config) -> nn.Module:
        """Return a fresh model on the CPU: maps a batch (dict) to outputs (dict)."""
        raise NotImplementedError(f"{type(self).__name__}.build_model")

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss to minimise, averaged over the batch: scalar, []."""
        raise NotImplementedError(f"{type(self).__name__}.loss")

    # --- optional hooks ------------------------------------------------------------------------------
    def expected_loss(self, config: Config) -> float | None:
        """Loss that a model without any knowledge has; None: -log(1/`classes`) where those are given."""
        del config
        return None if self.classes is None else math.log(self.classes)

    def prepare_data(self, config: Config) -> None:
        """Download or convert; runs once per node under a lock, before `build_data`."""

    def split_data(self, data: Mapping[str, Table], generator: torch.Generator) -> Mapping[str, Table]:
        """{"train": table, "val": table}; `generator` belongs to the seed's data split."""
        del generator
        return data

    def init_weights(self, model: nn.Module, streams: Streams) -> None:
        """Set initial weights from `streams` by parameter or module name (see `Streams.reset_by_name`)."""

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the model's outputs for a batch; override it for models that take no dict."""
        outputs: Outputs = model(batch)
        return outputs

    def collate_fn(self, samples: Sequence[Mapping[str, Any]]) -> Batch:
        """Return the batch of the samples of a dataset; override it where they differ in size."""
        return stacked(samples)

    def augment(self, batch: Batch, draws: SampleDraws) -> Batch:
        """Return a changed training batch, on the CPU, before it moves; draw from `draws` only."""
        del draws
        return batch

    def scores(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Values per sample, [B] each, whose mean over the validation set is reported as val/<name>."""
        del outputs, batch
        return {}

    def metrics(self) -> dict[str, Any]:
        """torchmetrics objects by name, reported as val/<name>; fed from `metric_inputs`."""
        return {}

    def metric_inputs(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, ...]:
        """Return what `update` of each of the `metrics` is called with, such as (predictions, targets)."""
        raise NotImplementedError(f"{type(self).__name__}.metric_inputs: needed when metrics() returns any")

    def sample_losses(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss of every sample, [B]; override it where one `loss` per sample is dear."""
        size = len(next(iter(batch.values())))
        return torch.stack([self.loss(_sample(outputs, i), _sample(batch, i)) for i in range(size)])

    def visualize(self, outputs: Outputs, batch: Batch) -> Mapping[str, Tensor | Sequence[str]]:
        """Pictures [B, 1 | 3, H, W] (uint8, or float in [0, 1]) or texts, by name, of a few samples."""
        del outputs, batch
        return {}

    def optimizer(self, model: nn.Module, config: Config) -> Optimizer | None:
        """Return an optimizer over the model's parameters; None: the one that `config["optim"]` names."""
        del model, config
        return None

    def optimizers(self, model: nn.Module, config: Config) -> Mapping[str, Optimizer]:
        """Return several optimizers by name, such as {"critic": ..., "generator": ...}, each over its part of
        the model. In every step each of them in turn gets `loss_of` its own, and no other's parameters move.
        """
        del model, config
        return {}

    def loss_of(self, name: str, model: nn.Module, batch: Batch) -> Tensor:
        """Return what the optimizer `name` of `optimizers` minimises, []; those before it have moved."""
        raise NotImplementedError(f"{type(self).__name__}.loss_of: needed when optimizers() returns any")

    def scheduler(self, optimizer: Any, config: Config, name: str = "") -> Scheduler | None:
        """Return a scheduler of torch over an optimizer (`name`: of `optimizers`), stepped as
        `scheduler_every` says, or with val/loss after every report if it is a ReduceLROnPlateau.
        """
        del optimizer, config, name
        return None

    def after_step(self, model: nn.Module, step: int) -> None:
        """Change the model after the update of a step (from 1): clip weights, move a target network."""

    def schedule(self, progress: float, config: Config) -> float | None:
        """Factor on the learning rate at `progress` in [0, 1]; None follows `config["optim"]`."""
        del progress, config
        return None


def _sample(values: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """One sample of a batch or of outputs, as a batch of one."""
    return {name: value[index : index + 1] for name, value in values.items()}


def collate_of(task: Task) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
    """Return what makes a batch; a function where the task has none of its own: it is not sent then."""
    return stacked if type(task).collate_fn is Task.collate_fn else task.collate_fn


def data_key(task: Task) -> str:
    """Identify the data that `task.build_data` returns within one process."""
    section = task.config.get("data") or {}
    names = section.keys() - set(LOADER_KEYS) if task.data_keys is None else task.data_keys
    wanted = {name: section.get(name) for name in names}
    kind = f"{type(task).__module__}.{type(task).__qualname__}"
    return f"data:{kind}:{json.dumps(wanted, sort_keys=True, default=repr)}"
