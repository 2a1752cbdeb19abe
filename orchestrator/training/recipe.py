"""What of a trial changes in a step: the model, its optimizers and their schedules, the averaged weights."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training.optim import PlainOptimizer, torch_optimizer
from orchestrator.training.ranks import average_gradients, share_buffers, unwrapped
from orchestrator.training.session import Session
from orchestrator.training.settings import LoopSettings, OptimSettings, optim_settings
from orchestrator.training.task import Batch, Optimizer, Scheduler, Task

OPTIMIZER = "optimiser"
"""Its key in checkpoints, as the first version spelled it."""
ONLY = ""
"""Name of the optimizer of a task that has one."""


@dataclass
class Recipe:
    """A model and what moves it, as the config asks for them."""

    task: Task
    model: nn.Module
    """On the device, perhaps in a data-parallel wrapper."""
    optim: OptimSettings
    optimizers: dict[str, Optimizer]
    schedulers: dict[str, Scheduler]
    scaler: torch.amp.GradScaler
    settings: LoopSettings
    world_size: int
    average: Any = None
    """torch's `AveragedModel`, where the weights are averaged."""
    _parameters: list[nn.Parameter] = field(default_factory=list)

    @property
    def evaluated(self) -> nn.Module:
        """The module that is validated and tested."""
        return unwrapped(self.model) if self.average is None else self.average.module

    @property
    def optimizer(self) -> Optimizer:
        """The first one: its settings are those that the curves show."""
        return next(iter(self.optimizers.values()))

    # --- a step --------------------------------------------------------------------------------------
    def set_learning_rates(self, factor: float) -> None:
        """Multiply the learning rates that no scheduler of the task's sets."""
        for name, optimizer in self.optimizers.items():
            if name not in self.schedulers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * factor

    def exchange(self, name: str) -> None:
        """Give every rank the mean gradients of what an optimizer of several moves, and rank 0's buffers.

        A single one's are exchanged by the data-parallel wrapper.
        """
        if name != ONLY and self.world_size > 1:
            average_gradients(list(self._moved_by(self.optimizers[name])), self.world_size)
            share_buffers(unwrapped(self.model), self.world_size)

    def update(self, name: str) -> None:
        """One step of an optimizer along the gradients, which are forgotten then."""
        optimizer: Any = self.optimizers[name]  # the scaler asks for param_groups and step only
        if self.settings.clip is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self._moved_by(optimizer), self.settings.clip)
        self.scaler.step(optimizer)
        for each in self.optimizers.values():
            each.zero_grad()

    def after_step(self, step: int, epoch_ended: bool) -> None:
        """Do what follows the updates of a step (from 1)."""
        self.scaler.update()
        if self.task.scheduler_every == "step" or epoch_ended:
            for scheduler in self.schedulers.values():
                if not _watches(scheduler):
                    scheduler.step()
        self.task.after_step(unwrapped(self.model), step)
        if self.average is not None:
            self.average.update_parameters(unwrapped(self.model))

    def after_report(self, val_loss: float) -> None:
        """Tell schedulers that watch the validation loss."""
        for scheduler in self.schedulers.values():
            if _watches(scheduler):
                scheduler.step(val_loss)

    def _moved_by(self, optimizer: Optimizer) -> Iterator[Tensor]:
        if len(self.optimizers) == 1:
            return iter(self._parameters)
        return (parameter for group in optimizer.param_groups for parameter in group["params"])

    # --- checkpoints ---------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """Tensors and plain values, by their names in a checkpoint."""
        optimizers = {name: each.state_dict() for name, each in self.optimizers.items()}
        state: dict[str, Any] = {
            "model": unwrapped(self.model).state_dict(),
            OPTIMIZER: optimizers.get(ONLY, optimizers),
            "scaler": self.scaler.state_dict(),
        }
        if self.schedulers:
            state["schedulers"] = {name: each.state_dict() for name, each in self.schedulers.items()}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        return state

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the model's part is loaded before it is wrapped."""
        optimizers = {ONLY: state[OPTIMIZER]} if ONLY in self.optimizers else state[OPTIMIZER]
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(optimizers[name])
        for name, scheduler in self.schedulers.items():
            scheduler.load_state_dict(state["schedulers"][name])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def prepare(task: Task, model: nn.Module, session: Session, settings: LoopSettings) -> Recipe:
    """Return what trains a model (on the CPU, with the weights that it begins with)."""
    if settings.gradient_checkpointing:
        _checkpoint_gradients(model, settings.gradient_checkpointing)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wrapped = session.prepare_model(model)
    if settings.compile:
        wrapped.compile(mode=settings.compile)
    wrapped.train()
    optim, optimizers, schedulers = _optimizers(task, wrapped, session)
    return Recipe(
        task,
        wrapped,
        optim,
        optimizers,
        schedulers,
        torch.amp.GradScaler(session.device.type, enabled=settings.precision == "fp16"),
        settings,
        session.world_size,
        _average(unwrapped(wrapped), settings.ema),
        list(wrapped.parameters()),
    )


def _optimizers(
    task: Task, model: nn.Module, session: Session
) -> tuple[OptimSettings, dict[str, Optimizer], dict[str, Scheduler]]:
    several = dict(task.optimizers(unwrapped(model), session.config))
    own: Optimizer | None = None if several else task.optimizer(model, session.config)
    optim = optim_settings(session.config, extra_keys=bool(several) or own is not None)
    scheduled = type(task).scheduler is not Task.scheduler
    if not several and own is None:
        # torch's schedulers take torch's own class only, which is slower to import
        own = (torch_optimizer if scheduled else PlainOptimizer)(model.parameters(), optim)
    optimizers = several if own is None else {ONLY: own}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    given = {name: task.scheduler(each, session.config, name) for name, each in optimizers.items()}
    return optim, optimizers, {name: each for name, each in given.items() if each is not None}


def _watches(scheduler: Scheduler) -> bool:
    return isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)


def _average(model: nn.Module, decay: float | None) -> Any:
    """Return torch's averaged model; what is no floating point number in it follows the latest weights."""
    if decay is None:
        return None
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # late: it takes a second

    lerp = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def average(averaged: Any, current: Any, count: Any) -> None:
        if averaged[0].is_floating_point():
            lerp(averaged, current, count)
        else:
            for mine, theirs in zip(averaged, current, strict=True):
                mine.copy_(theirs)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _checkpoint_gradients(model: nn.Module, chosen: bool | tuple[str, ...]) -> None:
    """Let modules run again in the backward pass instead of keeping what they computed.

    Raises:
        ValueError: no module fits.
    """
    built_in = getattr(model, "gradient_checkpointing_enable", None)
    if chosen is True and callable(built_in):
        built_in(gradient_checkpointing_kwargs={"use_reentrant": False})
        return
    blocks = dict(_blocks(model, "") if chosen is True else _matching(model, chosen))
    if not blocks:
        names = ", ".join(name for name, _ in list(model.named_modules())[1:9])
        raise ValueError(
            f"train.gradient_checkpointing finds no module to run again ({chosen!r}); name some of: {names}"
        )
    for module in blocks.values():
        module.forward = partial(_run_again, module, module.forward)


def _run_again(module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not (module.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    from torch.utils.checkpoint import checkpoint

    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def _blocks(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield what the outermost lists of modules hold."""
    for name, child in module.named_children():
        if isinstance(module, nn.Sequential | nn.ModuleList) and any(True for _ in child.parameters()):
            yield f"{prefix}{name}", child
        else:
            yield from _blocks(child, f"{prefix}{name}.")


def _matching(model: nn.Module, patterns: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the outermost modules whose names fit a pattern."""
    taken: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in taken)
        if name and not inside and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            taken.append(name)
            yield name, module


def laid_out(batch: Batch, channels_last: bool) -> Batch:
    """Return the batch with its images [B, C, H, W] as [B, H, W, C] in memory, where that is asked for."""
    if not channels_last:
        return batch
    return {
        name: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
        for name, value in batch.items()
    }
