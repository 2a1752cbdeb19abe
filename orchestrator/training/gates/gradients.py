"""A8: every parameter gets a finite gradient, none is left from the step before, samples do not mix."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import EvidenceTable, GateVerdict, cut, failed, listed, passed
from orchestrator.training.task import TRAIN, Batch
from orchestrator.training.validation import evaluating

BATCHES = 4
"""Steps in which a parameter has to get a gradient once: ReLUs may be off in one, a layer start at 0."""
MIXING = 1e-4
"""Relative change of a sample's outputs by its neighbours that rounding does not explain."""


def gradients(bench: Bench) -> GateVerdict:
    """Fails on missing, zero, NaN or infinite gradients, on stale ones, and on samples that mix."""
    model = bench.model()
    optimizer = bench.optimizer(model)
    found: dict[str, Tensor] = {}
    order = bench.order()
    for rows in torch.split(order, bench.batch_size)[:BATCHES]:
        batch = bench.augmented(bench.take(TRAIN, rows))
        model.zero_grad(set_to_none=True)
        bench.loss(model, batch).backward()  # type: ignore[no-untyped-call]
        for name, param in model.named_parameters():
            if param.grad is not None and (name not in found or not found[name].any()):
                found[name] = param.grad.detach().clone()
        optimizer.step()  # a layer that starts at 0 lets nothing through before it has moved
    wanted = {name for name, param in model.named_parameters() if param.requires_grad}
    idle = sorted(name for name in wanted if name not in found or not bool(found[name].any()))
    late = bool(idle) and any(arm.acts_after for arm in bench.request.arms)
    verdict = _not_finite(found) or (None if late else _idle(idle, found))
    if verdict is None:
        optimizer.zero_grad()
        verdict = _stale(model) or _mixing(bench, model)
    if verdict is not None:
        return replace(verdict, tables=(_table(found),))
    warnings = (f"no gradient yet: {listed(idle)}; a component acts later (acts_after)",) if late else ()
    text = f"{'all ' if not late else ''}{len(wanted) - len(idle)} parameters get a finite gradient"
    if _shows_rows(bench, model):
        text += "; no sample's outputs depend on another sample"
    return passed(text, tables=(_table(found),), warnings=warnings)


def _not_finite(found: dict[str, Tensor]) -> GateVerdict | None:
    odd = [name for name, grad in found.items() if not bool(torch.isfinite(grad).all())]
    if not odd:
        return None
    return failed(
        f"NaN or infinite gradients in {listed(odd)}",
        "log, sqrt or a division without a small constant",
        "values that overflow in the precision of train.precision",
    )


def _idle(idle: list[str], found: dict[str, Tensor]) -> GateVerdict | None:
    missing = [name for name in idle if name not in found]
    if missing:
        return failed(
            f"no gradient reaches {listed(missing)}",
            "detach(), .item(), .data or torch.no_grad() between these layers and the loss",
            "layers that the forward pass does not call: remove them, or freeze them (requires_grad_(False))",
        )
    if idle:
        return failed(
            f"the gradient of {listed(idle)} is 0 everywhere, in {BATCHES} steps",
            "the layer's output is multiplied by 0 or overwritten",
            "dead activations, or weights before them that start at 0",
            "what they belong to acts only later: give the component that adds it `acts_after: <steps>`",
        )
    return None


def _stale(model: nn.Module) -> GateVerdict | None:
    left = [name for name, param in model.named_parameters() if param.grad is not None and param.grad.any()]
    if not left:
        return None
    return failed(
        f"after the optimizer's zero_grad there are still gradients in {listed(left)}",
        "the Task's own optimizer does not clear them: every step then adds to all steps before",
        "its zero_grad covers some of the parameters only",
    )


def _mixing(bench: Bench, model: nn.Module) -> GateVerdict | None:
    """Compare outputs of the first half of a batch beside its own second half and beside another one."""
    size = min(8, bench.sets[TRAIN].count // 2)
    if size < 2:
        return None
    rows = bench.order()[: 2 * size]
    half = size // 2
    first = bench.take(TRAIN, rows[:size])
    second = bench.take(TRAIN, torch.cat([rows[:half], rows[size : 2 * size - half]]))
    with evaluating(model):
        before, after = _rows(bench, model, first, size), _rows(bench, model, second, size)
    for name, own in before.items():
        scale = float(own.abs().max()) or 1.0
        change = float((own[:half] - after[name][:half]).abs().max()) / scale
        if change > MIXING:
            return failed(
                f"the outputs {name!r} of a sample change by {change:.2g} (relative) with the other samples "
                "of its batch",
                "view or reshape where permute or transpose is meant: values move between samples",
                "a sum, mean, softmax or normalisation over dimension 0",
            )
    return None


def _rows(bench: Bench, model: nn.Module, batch: Batch, size: int) -> dict[str, Tensor]:
    return {
        name: value.float()
        for name, value in bench.outputs(model, batch).items()
        if isinstance(value, Tensor) and value.dim() and len(value) == size
    }


def _shows_rows(bench: Bench, model: nn.Module) -> bool:
    """Whether there are outputs by sample at all."""
    size = min(2, bench.sets[TRAIN].count)
    with evaluating(model):
        return bool(_rows(bench, model, bench.take(TRAIN, bench.order()[:size]), size))


def _table(found: dict[str, Tensor]) -> EvidenceTable:
    rows = [
        (name, *(f"{float(x):.3g}" for x in (grad.min(), grad.mean(), grad.max(), grad.norm())))
        for name, grad in found.items()
    ]
    columns = ("parameter", "min", "mean", "max", "norm")
    return EvidenceTable("First gradients that are not 0", columns, cut(rows))
