"""What each layer costs in a training step: parameters, FLOPs, bytes kept for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import EvidenceTable
from orchestrator.training.task import Batch
from orchestrator.training.validation import evaluating

MOST_ROWS = 60
WHOLE = "(model)"
"""The name of the outermost module, which has none."""


@dataclass(frozen=True)
class Layer:
    """One module without what its children cost.

    `flops`: of forward and backward pass, as torch counts them (matrix products, convolutions, attention).
    `kept`: bytes of the tensors that autograd keeps between the two, each counted where it is kept first.
    """

    name: str
    kind: str
    parameters: int
    output: str
    flops: int
    kept: int


def measure_layers(bench: Bench, model: nn.Module, batch: Batch) -> list[Layer]:
    """One training step of `model` on `batch`, layer by layer; leaves gradients behind.

    Modules without parameters, children, FLOPs and kept tensors of their own are left out.
    """
    shapes = _output_shapes(bench, model, batch)
    counter: Any = FlopCounterMode(display=False)
    kept: dict[str, int] = {}
    with _keeping(model, kept), counter:
        bench.loss(model, batch).backward()  # type: ignore[no-untyped-call]
    totals = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    layers = []
    for name, module in model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        path = f"{type(model).__name__}.{name}." if name else f"{type(model).__name__}."  # as torch counts it
        inside = sum(totals.get(path + child, 0) for child, _ in module.named_children())
        whole = totals.get(path.removesuffix("."), 0) if name else totals.get("Global", 0)
        layer = Layer(
            name or WHOLE,
            type(module).__name__,
            own,
            shapes.get(name, ""),
            max(0, whole - inside),
            kept.get(name, 0),
        )
        if own or not list(module.children()) or layer.flops or layer.kept:
            layers.append(layer)
    return layers


def layer_table(layers: list[Layer]) -> EvidenceTable:
    """As it is shown; long models are cut."""
    rows = [
        (x.name, x.kind, f"{x.parameters:,}", x.output, in_flops(x.flops), in_bytes(x.kept)) for x in layers
    ]
    if len(rows) > MOST_ROWS:
        rows = [*rows[:MOST_ROWS], (f"… {len(rows) - MOST_ROWS} more", "", "", "", "", "")]
    columns = ("layer", "kind", "parameters", "output", "FLOPs", "kept for backward")
    return EvidenceTable("Layers, in a training step", columns, tuple(rows))


def _output_shapes(bench: Bench, model: nn.Module, batch: Batch) -> dict[str, str]:
    shapes: dict[str, str] = {}

    def note(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[name] = str(list(output.shape))

    hooks = [module.register_forward_hook(partial(note, name)) for name, module in model.named_modules()]
    with evaluating(model):
        bench.outputs(model, batch)
    for hook in hooks:
        hook.remove()
    return shapes


@contextmanager
def _keeping(model: nn.Module, kept: dict[str, int]) -> Iterator[None]:
    """Bytes that autograd keeps, by the innermost module that runs; a tensor counts once, weights do not."""
    running = [""]
    seen = {p.data_ptr() for p in model.parameters()}

    def enter(name: str, _module: nn.Module, _inputs: Any) -> None:
        running.append(name)

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        running.pop()

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[running[-1]] = kept.get(running[-1], 0) + tensor.numel() * tensor.element_size()
        return tensor

    hooks = []
    for name, module in model.named_modules():
        hooks += [module.register_forward_pre_hook(partial(enter, name)), module.register_forward_hook(leave)]
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def in_bytes(count: int) -> str:
    """1536 -> `1.5 KiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def in_flops(count: int) -> str:
    """242e6 -> `242 MFLOP`."""
    for limit, unit in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count / 1e3:.3g} kFLOP" if count else "0"
