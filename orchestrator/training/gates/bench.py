"""A task on the bench: its hooks called one at a time as the loop calls them, their results checked.

Whatever a hook raises or returns that the loop cannot use becomes a `HookFault`, which names hook and fix.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from orchestrator.training.data.collate import stacked
from orchestrator.training.gates.results import CheckRequest
from orchestrator.training.loading import BatchSource, Feed, PoolSettings, Request, feed_for
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import Trainer
from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.ranks import to_device
from orchestrator.training.samples import Collate, Samples, TrainingOrder
from orchestrator.training.settings import LoopSettings, loop_settings, optim_settings
from orchestrator.training.streams import SampleDraws, Streams
from orchestrator.training.task import ID, TRAIN, VAL, Batch, Optimizer, Outputs, Task, collate_of
from orchestrator.training.validation import evaluating

VAL_SAMPLES = 2048
"""As many validation samples are enough for a check."""


_TABLES = 'return {"train": table, "val": table}'
Made = TypeVar("Made")


class HookFault(Exception):
    """A hook of the task raises, or returns what the loop cannot use."""

    def __init__(self, hook: str, message: str, fix: str) -> None:
        self.hook = hook
        self.message = message
        self.fix = fix
        super().__init__(f"{hook}: {message}; {fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.hook, self.message, self.fix)


class NotShown(Exception):
    """What is on the bench does not show what the gate asks for; the text says why. The gate is skipped."""


@dataclass
class Bench:
    """A task under the reference arm's config."""

    task_class: type[Task]
    request: CheckRequest
    device: torch.device = field(
        default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    cache: MutableMapping[str, Any] = field(default_factory=dict)
    """Keeps the data between trials, as a worker's process does."""
    data_of: ClassVar[tuple[str, ...]] = ("_built",)
    """Cached properties that hold the data."""
    reports_known: ClassVar[bool] = True
    """Whether the names of what a trial reports follow from the hooks."""

    @cached_property
    def config(self) -> dict[str, Any]:
        """The reference arm's, with seed."""
        return self.config_of(self.request.arms[0].config)

    def config_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return an arm's config as a trial gets it, without the validation that happens beside training, nor
        processes that load the samples: neither changes what is trained.
        """
        quiet = {"train": {"val_batch_every": 0}, "data": {"num_workers": 0}}
        sections = {name: config.get(name) or {} for name in quiet}
        changed = {
            name: {**section, **quiet[name]} if isinstance(section, Mapping) else section
            for name, section in sections.items()
        }
        return {**config, **changed, "seed": self.request.seed, "max_length": 1}

    def under(self, config: Mapping[str, Any]) -> Bench:
        """Return the same task and the same data under another config (which must not change the data)."""
        arm = replace(self.request.arms[0], config=config)
        other = replace(self, request=replace(self.request, arms=(arm,)))
        for name in self.data_of:
            other.__dict__[name] = getattr(self, name)  # where cached_property keeps it
        return other

    @cached_property
    def task(self) -> Task:
        """One instance, for all calls of hooks."""
        fix = "it takes the config and nothing else"
        return called("__init__", lambda: self.task_class(self.config), fix)

    @cached_property
    def _settings(self) -> LoopSettings:
        return called("config", lambda: loop_settings(self.config), "see data and train there")

    @cached_property
    def batch_size(self) -> int:
        """Samples of a training batch, at most the whole training set."""
        return min(self._settings.batch_size, self.sets[TRAIN].count)

    # --- data ----------------------------------------------------------------------------------------
    @cached_property
    def _built(self) -> Any:
        """What `build_data` returns."""
        if type(self.task).prepare_data is not Task.prepare_data:
            called("prepare_data", lambda: self.task.prepare_data(self.config))
        return called("build_data", lambda: self.task.build_data(self.config), _TABLES)

    @cached_property
    def sets(self) -> dict[str, Samples]:
        """{"train", "val"}, checked to be samples that are dicts of tensors or numbers."""
        built, split, fix = self._built, self.task.streams.generator("split"), _TABLES
        tables = called("split_data", lambda: self.task.split_data(built, split), fix)
        if not isinstance(tables, Mapping) or not {TRAIN, VAL} <= set(tables):
            found = sorted(tables) if isinstance(tables, Mapping) else type(tables).__name__
            raise HookFault("build_data", f"gives {found}, not train and val", fix)
        return {name: checked_samples(name, tables[name], collate_of(self.task)) for name in (TRAIN, VAL)}

    def feed(self) -> Feed:
        """Return what a trial's batches come from, before they are augmented by the trial's process."""
        wanted = called("config", lambda: loop_settings(self.request.arms[0].config)).num_workers
        workers = self.request.loader_workers if wanted == "auto" else wanted
        loading = PoolSettings(workers, self._settings.prefetch_factor, self.device.type == "cuda")
        samples = {TRAIN: self.sets[TRAIN]}
        return called(
            "data", lambda: feed_for(self.task, samples, loading, wanted, self.cache, augmenting=False)
        )

    def take(self, name: str, indices: Tensor) -> Batch:
        """Return samples of a set as they lie there, on the CPU; the training set draws as in epoch 0."""
        if name == TRAIN:
            return BatchSource(self.sets, Streams(self.request.seed), None).batch(Request(TRAIN, indices, 0))
        return self.sets[name].take(indices)

    def order(self, epoch: int = 0) -> Tensor:
        """Return the training samples of an epoch in the order of the loop."""
        return self._order.of(epoch) % self.sets[TRAIN].count

    @cached_property
    def _order(self) -> TrainingOrder:
        label = self.task.label_key if self._settings.balanced else None
        fix = "name the column with the classes as label_key of the Task"
        return called("config", lambda: TrainingOrder(self.sets[TRAIN], self.task.streams, label), fix)

    def augmented(self, batch: Batch, epoch: int = 0) -> Batch:
        """Return the batch after the task's `augment`."""
        draws = SampleDraws(self.task.streams, epoch, batch[ID])
        changed = called("augment", lambda: self.task.augment(dict(batch), draws))
        _check_batch("augment", changed)
        return changed

    def spread(self, name: str, count: int) -> Batch:
        """`count` samples from all over a set (fewer when it is smaller)."""
        total = self.sets[name].count
        return self.take(name, torch.linspace(0, total - 1, min(count, total)).long())

    # --- model ---------------------------------------------------------------------------------------
    def model(self) -> nn.Module:
        """Return a fresh model on the device, with the weights that a trial starts with."""
        given, task = self.config, self.task
        assert self.sets  # as in the loop, the data come first: a task may learn its classes from them
        task.streams.seed_globals("build")
        built = called("build_model", lambda: task.build_model(given))
        if not isinstance(built, nn.Module):
            raise HookFault("build_model", f"gives a {type(built).__name__}", "return a torch.nn.Module")
        called("init_weights", lambda: task.init_weights(built, task.streams))
        task.streams.seed_globals("runtime", 0)
        return built.to(self.device).train()

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return what the model says to a batch."""
        there = to_device(batch, self.device)
        outputs = called("forward", lambda: self.task.forward(model, there))
        if not isinstance(outputs, Mapping):
            fix = 'return a dict of named tensors: {"logits": logits}'
            raise HookFault("build_model", f"the model returns a {type(outputs).__name__}", fix)
        return dict(outputs)

    def loss_of(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the task's loss, checked to be one number."""
        there = to_device(batch, self.device)
        loss = called("loss", lambda: self.task.loss(outputs, there))
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.dim() > 0:
            found = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise HookFault("loss", f"gives {found}, not a scalar", "average over the batch: loss.mean()")
        return loss

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of a batch, []."""
        return self.loss_of(self.outputs(model, batch), batch)

    def val_loss(self, model: nn.Module) -> float:
        """Loss in evaluation mode, averaged over the validation batches."""
        with evaluating(model):
            losses = [float(self.loss(model, batch)) for batch in self.val_batches()]
        return sum(losses) / len(losses)

    def val_batches(self) -> Iterator[Batch]:
        """Yield the validation set, or `VAL_SAMPLES` of it."""
        total = self.sets[VAL].count
        rows = torch.linspace(0, total - 1, min(VAL_SAMPLES, total)).long()
        yield from (self.take(VAL, part) for part in torch.split(rows, self.batch_size))

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Return the one that the loop would use."""
        given = self.config
        if type(self.task).optimizers is not Task.optimizers:
            raise NotShown("the task has several optimizers, each with a loss of its own")
        own = called("optimizer", lambda: self.task.optimizer(model, given))
        settings = called("config", lambda: optim_settings(given, extra_keys=own is not None), "see optim")
        return own or PlainOptimizer(model.parameters(), settings)

    # --- whole trials --------------------------------------------------------------------------------
    def first_steps(self, config: Mapping[str, Any], steps: int) -> tuple[tuple[float, ...], nn.Module]:
        """Losses of a trial's first steps, and the model after them."""
        with self.trainer(config, steps) as (trainer, _):
            return tuple(trainer.first_losses(steps)), trainer.model

    @contextmanager
    def trainer(
        self, config: Mapping[str, Any], steps: int, **session: Any
    ) -> Iterator[tuple[Trainer, LocalSession]]:
        """Set up the real loop over `steps` steps, with at most `VAL_SAMPLES` validation samples."""
        with tempfile.TemporaryDirectory(prefix="check-") as folder:
            place = LocalSession(
                config=config if isinstance(config, dict) else dict(config),
                max_length=steps,
                unit="step",
                trial_dir=session.pop("trial_dir", folder),
                cache=self.cache,
                device=self.device,
                **session,
            )
            yield Trainer(shortened(self.task_class)(place.config), place), place


def shortened(task_class: type[Task]) -> type[Task]:
    """Return the same task with at most `VAL_SAMPLES` validation samples: reports are then cheap."""

    def split_data(self: Any, data: Any, generator: torch.Generator) -> Any:
        tables: dict[str, Any] = dict(task_class.split_data(self, data, generator))
        val = tables.get(VAL)
        if isinstance(val, Mapping):
            tables[VAL] = {name: column[:VAL_SAMPLES] for name, column in val.items()}
        elif val is not None and len(val) > VAL_SAMPLES:
            tables[VAL] = Subset(val, range(VAL_SAMPLES))
        return tables

    kept = {"__module__": task_class.__module__, "__qualname__": task_class.__qualname__}
    return type(task_class.__name__, (task_class,), {"split_data": split_data, **kept})


def called(hook: str, call: Callable[[], Made], fix: str = "see the message") -> Made:
    """Return the call's result; whatever it raises becomes a HookFault that names the hook."""
    try:
        return call()
    except (HookFault, NotShown):
        raise
    except NotImplementedError as error:
        raise HookFault(hook, f"is not there ({error})", f"define {hook} in the Task") from error
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if hook == "loss" and isinstance(error, IndexError) and "out of bounds" in said:
            fix = "labels run from 0 to the number of classes - 1: see build_data, and the model's last layer"
        raise HookFault(hook, f"raises {type(error).__name__}: {said}{_place(error)}", fix) from error


def _place(error: BaseException) -> str:
    """Where in the user's code it was raised."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        ours = frame.f_globals.get("__name__", "").partition(".")[0] == "orchestrator"
        if not ours and "site-packages" not in file:
            place = f" ({file}:{line})"
    return place


_NAMED = 'make each sample a dict of named tensors: {"image": image, "label": label}'


def checked_samples(name: str, table: Any, collate: Collate = stacked) -> Samples:
    """Return the samples of a set, or raise the HookFault that says why they are none."""
    if isinstance(table, Mapping):
        odd = [key for key, column in table.items() if not isinstance(column, Tensor)]
        if odd or not table:
            raise HookFault("build_data", f"{name}: no tensor under {odd or 'any name'}", _NAMED)
    elif not hasattr(table, "__len__") or not hasattr(table, "__getitem__"):
        fix = "give a dict of tensors, or a dataset with __len__ and __getitem__"
        raise HookFault("build_data", f"{name} is a {type(table).__name__}", fix)
    elif len(table) > 0:
        sample = called("build_data", lambda: table[0], "the dataset's __getitem__ gives one sample")
        if not isinstance(sample, Mapping):
            said = f"a sample of {name} is a {type(sample).__name__}, not a dict"
            raise HookFault("build_data", said, _NAMED)
    try:
        samples = Samples(table, collate)
    except ValueError as error:
        fix = "the tensors of a set have one length, at least 1"
        raise HookFault("build_data", f"{name}: {error}", fix) from error
    called("build_data", lambda: samples.take(torch.arange(min(2, samples.count))), _NAMED)
    return samples


def _check_batch(hook: str, batch: Any) -> None:
    if not isinstance(batch, Mapping):
        raise HookFault(hook, f"gives a {type(batch).__name__}, not a dict", _NAMED)
    odd = [name for name, value in batch.items() if not isinstance(value, Tensor)]
    if odd:
        raise HookFault(hook, f"no tensor under {odd}", _NAMED)
