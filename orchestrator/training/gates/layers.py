"""A3 and P1: what a model costs in a training step, layer by layer: parameters, FLOPs, bytes for the backward
pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.training.divergence import tensors_in
from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import EvidenceTable, GateVerdict, cut, failed, passed
from orchestrator.training.task import TRAIN, Batch

LARGE = 1_000_000
"""Parameters from which a first model is not simple."""
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


def size(bench: Bench) -> GateVerdict:
    """Parameters, FLOPs of one step and memory; fails where there is nothing to train."""
    model = bench.model()
    batch = bench.augmented(bench.take(TRAIN, bench.order()[: bench.batch_size]))
    count = sum(p.numel() for p in model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    if frozen == count:
        said = f"none of the model's {count:,} parameters is trained"
        return failed(said, "requires_grad is off everywhere")
    layers = measure_layers(bench, model, batch)
    flops, kept = sum(layer.flops for layer in layers), sum(layer.kept for layer in layers)
    text = f"{count:,} parameters"
    text += f", {frozen:,} of them frozen" if frozen else ""
    text += f"; {in_flops(flops)} in a step" if flops else "; FLOPs not counted"
    text += f"; {in_bytes(_bytes(model.parameters()))} weights"
    text += f", {in_bytes(kept)} kept for the backward pass of {bench.batch_size} samples"
    large = f"more than {LARGE:,} parameters: for a first check a smaller model is quicker to mend"
    return passed(text, tables=(layer_table(layers),), warnings=(large,) if count > LARGE else ())


def profile(bench: Bench) -> GateVerdict:
    """Parameters, FLOPs and memory, layer by layer and in all."""
    model = bench.model()
    batch = bench.augmented(bench.take(TRAIN, bench.order()[: bench.batch_size]))
    layers = measure_layers(bench, model, batch)
    optimizer = bench.optimizer(model)
    optimizer.step()
    memory = {
        "weights": _bytes(model.parameters()),
        "gradients": _bytes(p.grad for p in model.parameters() if p.grad is not None),
        "optimizer state": _bytes(tensors_in(optimizer.state_dict())),
        "kept for the backward pass": sum(layer.kept for layer in layers),
    }
    flops = sum(layer.flops for layer in layers)
    heaviest = max(layers, key=lambda layer: layer.flops)
    text = f"{sum(layer.parameters for layer in layers):,} parameters, {in_flops(flops)} in a step of "
    text += f"{len(batch['id'])} samples, {in_bytes(sum(memory.values()))}"
    if flops:
        text += f"; {heaviest.flops / flops:.0%} of the FLOPs are in {heaviest.name}"
    rows = tuple((name, in_bytes(count)) for name, count in memory.items())
    return passed(text, tables=(layer_table(layers), EvidenceTable("Memory", ("what", "bytes"), rows)))


def measure_layers(bench: Bench, model: nn.Module, batch: Batch) -> list[Layer]:
    """One training step of `model` on `batch`, layer by layer; leaves gradients behind.

    Modules without parameters, children, FLOPs and kept tensors of their own are left out.
    """
    counter: Any = FlopCounterMode(display=False)
    shapes: dict[str, str] = {}
    kept: dict[str, int] = {}
    with _noting(model, shapes, kept), counter:
        bench.loss(model, batch).backward()  # type: ignore[no-untyped-call]
    totals = {name: sum(by_op.values()) for name, by_op in counter.get_flop_counts().items()}
    layers = []
    for name, module in model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        path = f"{type(model).__name__}.{name}".rstrip(".")  # as torch counts it
        inside = sum(totals.get(f"{path}.{child}", 0) for child, _ in module.named_children())
        flops = max(0, totals.get(path if name else "Global", 0) - inside)
        if own or not list(module.children()) or flops or kept.get(name):
            kind, output = type(module).__name__, shapes.get(name, "")
            layers.append(Layer(name or WHOLE, kind, own, output, flops, kept.get(name, 0)))
    return layers


def layer_table(layers: list[Layer]) -> EvidenceTable:
    """As it is shown; long models are cut."""
    columns = ("layer", "kind", "parameters", "output", "FLOPs", "kept for backward")
    rows = [
        (x.name, x.kind, f"{x.parameters:,}", x.output, in_flops(x.flops), in_bytes(x.kept)) for x in layers
    ]
    return EvidenceTable("Layers, in a training step", columns, cut(rows))


@contextmanager
def _noting(model: nn.Module, shapes: dict[str, str], kept: dict[str, int]) -> Iterator[None]:
    """Note the shape of each module's output, and the bytes that autograd keeps by the innermost module that
    runs; a tensor counts once, weights do not.
    """
    running = [""]
    seen = {p.data_ptr() for p in model.parameters()}

    def enter(name: str, _module: nn.Module, _inputs: Any) -> None:
        running.append(name)

    def leave(_module: nn.Module, _inputs: Any, output: Any) -> None:
        name = running.pop()
        if isinstance(output, Tensor):
            shapes[name] = str(list(output.shape))

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[running[-1]] = kept.get(running[-1], 0) + _bytes([tensor])
        return tensor

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(partial(enter, name)))
            hooks.enter_context(module.register_forward_hook(leave))
        hooks.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        yield


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def in_bytes(count: int) -> str:
    """1536 -> `1.5 KiB`."""
    power = min(3, max(0, count.bit_length() - 1) // 10)
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"


def in_flops(count: int) -> str:
    """242e6 -> `242 MFLOP`."""
    for limit, unit in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count / 1e3:.3g} kFLOP" if count else "0"
