"""Training on a fixed handful of samples, everything that regularises switched off."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training.gates.bench import Bench
from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.settings import OptimSettings
from orchestrator.training.task import Batch, Optimizer

REGULARISERS = frozenset(
    [
        *("dropout", "drop_path", "drop_rate", "attention_dropout", "stochastic_depth"),
        *("weight_decay", "l1", "l2", "label_smoothing"),
        *("mixup", "cutmix", "cutout", "random_erasing", "augment", "augmentation"),
    ]
)
"""Names of config keys, at any depth, that are set to 0 or false."""
TRUSTED = OptimSettings(name="adamw", lr=3e-3)
"""Tried where the config's own optimizer does not get there: is it the recipe, or only its learning rate?"""


def unregularised(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the config with its regularisers off, and the dotted keys that this changes."""
    plain: dict[str, Any] = {}
    changed: list[str] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            plain[key], below = unregularised(value)
            changed += [f"{key}.{name}" for name in below]
        elif key in REGULARISERS and isinstance(value, bool | int | float) and value:
            plain[key] = type(value)(0)
            changed.append(key)
        else:
            plain[key] = value
    return plain, changed


def without_dropout(model: nn.Module) -> nn.Module:
    """Return the model in training mode, its dropout off."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
        elif isinstance(getattr(module, "dropout", None), float):
            setattr(module, "dropout", 0.0)  # noqa: B010 - attention keeps its rate in a number
    return model


def own_optimizer(bench: Bench) -> Callable[[nn.Module], Optimizer]:
    """Return the one of the config, at its full learning rate."""
    return bench.optimizer


def trusted_optimizer(bench: Bench) -> Callable[[nn.Module], Optimizer]:
    """AdamW with a learning rate that trains nearly everything a little."""
    del bench
    return lambda model: PlainOptimizer(model.parameters(), TRUSTED)


OPTIMISERS = (own_optimizer, trusted_optimizer)


def fit(
    bench: Bench,
    batch: Batch,
    optimizer_of: Callable[[nn.Module], Optimizer],
    *,
    seen: Batch | None = None,
    seconds: float = 20.0,
) -> Iterator[tuple[nn.Module, float]]:
    """Model and loss before each step on one batch, until the time is up or the loss is not finite.

    `seen` is what the model gets to see in place of the batch that the loss is about.
    """
    model = without_dropout(bench.model())
    optimizer = optimizer_of(model)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        loss = bench.loss_of(bench.outputs(model, batch if seen is None else seen), batch)
        value = float(loss.detach())
        yield model, value
        if not torch.isfinite(loss):
            return
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def blank(batch: Batch) -> Batch:
    """Zeros in place of everything."""
    return {name: torch.zeros_like(tensor) for name, tensor in batch.items()}


def repeated(batch: Batch, times: int) -> Batch:
    """Each sample so many times: batch normalisation does not train on one."""
    return {name: tensor.repeat_interleave(times, dim=0) for name, tensor in batch.items()}


def spread_of(outputs: Mapping[str, Tensor], samples: int) -> float:
    """Largest difference between samples in any output that has one row per sample; infinite without one."""
    rows = [out.detach().float() for out in outputs.values() if out.dim() and len(out) == samples]
    return max((float((row.max(0).values - row.min(0).values).max()) for row in rows), default=math.inf)
