"""A5: inputs matter. A6 and A7: one sample, then eight, can be learnt by heart."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.training.gates.bench import Bench, HookFault
from orchestrator.training.gates.fitting import (
    OPTIMISERS,
    TRUSTED,
    blank,
    fit,
    repeated,
    spread_of,
    trusted_optimizer,
    unregularised,
)
from orchestrator.training.gates.results import EvidenceCurve, GateVerdict, failed, passed, skipped
from orchestrator.training.task import ID, TRAIN, Batch
from orchestrator.training.validation import evaluating

if TYPE_CHECKING:
    from torch import nn

STEPS = 400
FEW = 8
SAMPLES = 64
"""Of A5: enough that they differ, few enough to be learnt."""
NEAR_ZERO = 0.05
"""Share of the first loss that counts as nearly nothing."""
BETTER = 0.8
"""A5: with data the loss falls at least to this share of what it is with zeros."""


def inputs_matter(bench: Bench) -> GateVerdict:
    """Learn the same samples from their inputs, and from zeros in their place."""
    plain = _plain(bench)
    batch = plain.spread(TRAIN, SAMPLES)
    try:
        plain.outputs(plain.model(), blank(batch))
    except HookFault as fault:
        return skipped(f"the model does not take zeros: {fault.message}")
    seen, zero = float("nan"), float("nan")
    for optimizer in OPTIMISERS:
        runs = (
            fit(plain, batch, optimizer(plain), seconds=10),
            fit(plain, batch, optimizer(plain), seen=blank(batch), seconds=10),
        )
        for step, ((_, seen), (_, zero)) in enumerate(islice(zip(*runs, strict=False), STEPS // 2)):
            if step >= 5 and seen <= BETTER * zero:
                return passed(
                    f"after {step} steps the loss is {seen:.3f} with the data, {zero:.3f} with zeros"
                )
    return failed(
        f"with zeros in place of the inputs the loss falls as far ({zero:.4g}) as with them ({seen:.4g})",
        "the forward pass does not use its input, or overwrites it",
        "inputs are scaled to nearly nothing: see their range in A1",
        "the layers next to the input saturate (dead ReLU) at the start",
    )


def one_sample(bench: Bench) -> GateVerdict:
    """Training on one sample brings the loss to about 0."""
    if bench.task_class.lowest_loss is None:
        return skipped("the task declares no `lowest_loss`")
    plain = _plain(bench)
    return _overfit(bench, plain, repeated(plain.spread(TRAIN, 1), 4), "one sample")


def few_samples(bench: Bench) -> GateVerdict:
    """Training on eight samples does too, and gives each its own outputs."""
    if bench.task_class.lowest_loss is None:
        return skipped("the task declares no `lowest_loss`")
    plain = _plain(bench)
    return _overfit(bench, plain, plain.spread(TRAIN, FEW), f"{FEW} samples")


def _plain(bench: Bench) -> Bench:
    return bench.under(unregularised(bench.request.arms[0].config)[0])


def _overfit(bench: Bench, plain: Bench, batch: Batch, what: str) -> GateVerdict:
    off = unregularised(bench.request.arms[0].config)[1]
    said_off = f" ({', '.join(off)} off)" if off else ""
    lowest = bench.task_class.lowest_loss or 0.0
    curves: list[list[float]] = []
    for optimizer in OPTIMISERS:
        losses: list[float] = []
        curves.append(losses)
        for model, loss in _until_low(fit(plain, batch, optimizer(plain)), lowest, losses):
            alike = _outputs_alike(plain, model, batch)
            if alike is not None:
                return alike
            text = f"the loss on {what} goes from {losses[0]:.3g} to {loss:.2g} in {len(losses) - 1} steps"
            warnings: tuple[str, ...] = ()
            if optimizer is trusted_optimizer:
                warnings = (
                    f"not with the config's own optimizer ({curves[0][0]:.3g} to {curves[0][-1]:.3g}), but "
                    f"with {TRUSTED.name} at {TRUSTED.lr:g}: try orchestrate lr-find",
                )
            return passed(text + said_off, curves=(_curve(losses, what),), warnings=warnings)
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


def _until_low(
    steps: Iterator[tuple[nn.Module, float]], lowest: float, losses: list[float]
) -> Iterator[tuple[nn.Module, float]]:
    """Yield the first step at which the loss is near its lowest, if there is one, and note all losses."""
    for model, loss in islice(steps, STEPS):
        losses.append(loss)
        if loss - lowest <= NEAR_ZERO * max(losses[0] - lowest, 1e-6):
            yield model, loss
            return


def _outputs_alike(bench: Bench, model: nn.Module, batch: Batch) -> GateVerdict | None:
    """Different samples, the same outputs: then the loss has been reached without looking."""
    samples = len(batch[ID])
    if len(set(batch[ID].tolist())) == 1:
        return None
    with evaluating(model):
        spread = spread_of(bench.outputs(model, batch), samples)
    if spread > 1e-6:
        return None
    return failed(
        f"{samples} different samples get the same outputs",
        "the forward pass does not use its input",
        "a normalisation with the wrong dimensions removes what tells samples apart",
    )


def _curve(losses: list[float], what: str) -> EvidenceCurve:
    points = tuple((float(step), loss) for step, loss in enumerate(losses))
    return EvidenceCurve(f"Training on {what}", "step", "loss", points)
