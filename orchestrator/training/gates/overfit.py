"""A5: inputs matter. A6 and A7: one sample, then eight, can be learnt by heart.

All three train on a fixed handful of samples, with everything that regularises switched off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import nn

from orchestrator.training.gates.bench import Bench, HookFault
from orchestrator.training.gates.results import EvidenceCurve, GateVerdict, failed, passed, skipped
from orchestrator.training.optim import PlainOptimizer
from orchestrator.training.settings import OptimSettings
from orchestrator.training.task import ID, TRAIN, Batch
from orchestrator.training.validation import evaluating

STEPS = 400
FEW = 8
SAMPLES = 64
"""Of A5: enough that they differ, few enough to be learnt."""
NEAR_ZERO = 0.05
"""Share of the first loss that counts as nearly nothing."""
BETTER = 0.8
"""A5: with data the loss falls at least to this share of what it is with zeros."""
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


def inputs_matter(bench: Bench) -> GateVerdict:
    """Learn the same samples from their inputs, and from zeros in their place."""
    plain = bench.under(unregularised(bench.request.arms[0].config)[0])
    batch = plain.spread(TRAIN, SAMPLES)
    try:
        plain.outputs(plain.model(), blank(batch))
    except HookFault as fault:
        return skipped(f"the model does not take zeros: {fault.message}")
    seen, zero = float("nan"), float("nan")
    for trusted in (False, True):
        runs = (
            fit(plain, batch, trusted=trusted, seconds=10),
            fit(plain, batch, trusted=trusted, seen=blank(batch), seconds=10),
        )
        for step, ((_, seen), (_, zero)) in enumerate(islice(zip(*runs, strict=False), STEPS // 2)):
            if step >= 5 and seen <= BETTER * zero:
                text = f"after {step} steps the loss is {seen:.3f} with the data, {zero:.3f} with zeros"
                return passed(text)
    return failed(
        f"with zeros in place of the inputs the loss falls as far ({zero:.4g}) as with them ({seen:.4g})",
        "the forward pass does not use its input, or overwrites it",
        "inputs are scaled to nearly nothing: see their range in A1",
        "the layers next to the input saturate (dead ReLU) at the start",
    )


def overfits(bench: Bench, *, count: int) -> GateVerdict:
    """Training on so few samples brings the loss to about 0, and gives each its own outputs."""
    what = "one sample" if count == 1 else f"{count} samples"
    lowest = bench.task_class.lowest_loss
    if lowest is None:
        return skipped("the task declares no `lowest_loss`")
    config, off = unregularised(bench.request.arms[0].config)
    plain = bench.under(config)
    batch = plain.spread(TRAIN, count)
    if count == 1:  # four times: batch normalisation does not train on one
        batch = {name: tensor.repeat_interleave(4, dim=0) for name, tensor in batch.items()}
    said_off = f" ({', '.join(off)} off)" if off else ""
    curves: list[list[float]] = []
    for trusted in (False, True):
        losses: list[float] = []
        curves.append(losses)
        for model, loss in islice(fit(plain, batch, trusted=trusted), STEPS):
            losses.append(loss)
            near = loss - lowest <= NEAR_ZERO * max(losses[0] - lowest, 1e-6)
            if not near:
                continue
            text = f"the loss on {what} goes from {losses[0]:.3g} to {loss:.2g} in {len(losses) - 1} steps"
            other = (
                f"not with the config's own optimizer ({curves[0][0]:.3g} to {curves[0][-1]:.3g}), but "
                f"with {TRUSTED.name} at {TRUSTED.lr:g}: try orchestrate lr-find"
            )
            warnings = (other,) if trusted else ()
            good = passed(text + said_off, curves=(_curve(losses, what),), warnings=warnings)
            return _outputs_alike(plain, model, batch) or good
    best = min(min(losses) for losses in curves)
    return failed(
        f"the loss on {what} goes from {curves[0][0]:.3g} to {best:.3g} at best, not to about "
        f"{lowest:g}{said_off}",
        "softmax or log-softmax before a loss that does it again",
        "labels do not match what the loss expects (shape, order, one-hot)",
        "the last layer cannot reach the targets (activation, scale)",
        "something still regularises: a key that is not recognised as a regulariser",
        "the loss has a floor above 0: set `lowest_loss` in the Task",
        curves=(_curve(curves[-1], what),),
    )


def _outputs_alike(bench: Bench, model: nn.Module, batch: Batch) -> GateVerdict | None:
    """Different samples, the same outputs: then the loss has been reached without looking."""
    samples = len(batch[ID])
    if len(set(batch[ID].tolist())) == 1:
        return None
    with evaluating(model):
        outputs = bench.outputs(model, batch).values()
    rows = [out.detach().float() for out in outputs if out.dim() and len(out) == samples]
    differences = [float((row.max(0).values - row.min(0).values).max()) for row in rows]
    if not differences or max(differences) > 1e-6:
        return None
    return failed(
        f"{samples} different samples get the same outputs",
        "the forward pass does not use its input",
        "a normalisation with the wrong dimensions removes what tells samples apart",
    )


def _curve(losses: list[float], what: str) -> EvidenceCurve:
    points = tuple((float(step), loss) for step, loss in enumerate(losses))
    return EvidenceCurve(f"Training on {what}", "step", "loss", points)


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


def fit(
    bench: Bench, batch: Batch, *, trusted: bool, seen: Batch | None = None, seconds: float = 20.0
) -> Iterator[tuple[nn.Module, float]]:
    """Model and loss before each step on one batch, until the time is up or the loss is not finite.

    `trusted`: by `TRUSTED` instead of the config's own optimizer. `seen` is what the model gets to see in
    place of the batch that the loss is about.
    """
    model = without_dropout(bench.model())
    optimizer = PlainOptimizer(model.parameters(), TRUSTED) if trusted else bench.optimizer(model)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        loss = bench.loss_of(bench.outputs(model, batch if seen is None else seen), batch)
        value = float(loss.detach())
        yield model, value
        if not torch.isfinite(loss):
            return
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()


def blank(batch: Batch) -> Batch:
    """Zeros in place of everything."""
    return {name: torch.zeros_like(tensor) for name, tensor in batch.items()}
