"""What `orchestrate profile` asks: what each layer costs, where a step's time goes; a trace on request."""

from __future__ import annotations

from typing import Any

import torch

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.layers import in_bytes, in_flops, layer_table, measure_layers
from orchestrator.training.gates.results import EvidenceTable, GateVerdict, passed, skipped
from orchestrator.training.gates.speed import PARTS, budget, measure
from orchestrator.training.task import TRAIN, Optimizer

MOST_OPERATIONS = 15
COMPUTE = "where the hardware is not busy, a larger batch or train.precision: bf16 help"
ADVICE = {
    "data": "decode once in build_data, so that fetching a sample is indexing a tensor",
    "augment": "let Task.augment work on whole tensors [B, ...] instead of sample by sample",
    "forward": COMPUTE,
    "backward": COMPUTE,
    "optimizer": "many small parameters are updated one by one: a fused or foreach optimizer",
    "logging": "the step waits for its loss; a larger batch gives the device more to do in between",
}


def layers(bench: Bench) -> GateVerdict:
    """Parameters, FLOPs and memory, layer by layer and in all."""
    model = bench.model()
    batch = bench.augmented(bench.take(TRAIN, bench.order()[: bench.batch_size]))
    found = measure_layers(bench, model, batch)
    optimizer = bench.optimizer(model)
    optimizer.step()
    memory = {
        "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
        "gradients": sum(
            p.grad.numel() * p.grad.element_size() for p in model.parameters() if p.grad is not None
        ),
        "optimizer state": _state_bytes(optimizer),
        "kept for the backward pass": sum(layer.kept for layer in found),
    }
    flops = sum(layer.flops for layer in found)
    heaviest = max(found, key=lambda layer: layer.flops)
    text = f"{sum(layer.parameters for layer in found):,} parameters, {in_flops(flops)} in a step of "
    text += f"{len(batch['id'])} samples, {in_bytes(sum(memory.values()))}"
    if flops:
        text += f"; {heaviest.flops / flops:.0%} of the FLOPs are in {heaviest.name}"
    rows = tuple((name, in_bytes(count)) for name, count in memory.items())
    return passed(text, tables=(layer_table(found), EvidenceTable("Memory", ("what", "bytes"), rows)))


def step(bench: Bench) -> GateVerdict:
    """Measure the time of a step by part, and name the bottleneck in one sentence."""
    spent = measure(bench)
    total = sum(spent.values())
    slowest = max(spent, key=lambda part: spent[part])
    text = (
        f"{total * 1e3:.1f} ms a step, {bench.batch_size / total:,.0f} samples/s; the bottleneck is "
        f"{PARTS[slowest]} ({spent[slowest] / total:.0%}): {ADVICE[slowest]}"
    )
    return passed(text, tables=(budget(spent),))


def trace(bench: Bench) -> GateVerdict:
    """Write a trace of the profiler over the steps that `step` measures to `request.trace`."""
    if bench.request.trace is None:
        return skipped("no trace was asked for (--trace)")
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        measure(bench)
    profiler.export_chrome_trace(bench.request.trace)
    text = f"{bench.request.trace} (opens in https://ui.perfetto.dev or chrome://tracing)"
    return passed(text, tables=(_operations(profiler, bench.device.type),))


def _operations(profiler: Any, device: str) -> EvidenceTable:
    """Return the operations that take longest, without what they call."""
    own = f"self_{'device' if device == 'cuda' else 'cpu'}_time_total"
    found = [event for event in profiler.key_averages() if event.key not in PARTS]
    found.sort(key=lambda event: -getattr(event, own))
    total = sum(getattr(event, own) for event in found) or 1.0
    rows = tuple(
        (
            event.key[:80],
            f"{event.count}",
            f"{getattr(event, own) / 1e3:.2f}",
            f"{getattr(event, own) / total:.0%}",
        )
        for event in found[:MOST_OPERATIONS]
    )
    return EvidenceTable("Operations", ("operation", "calls", "ms", "share"), rows)


def _state_bytes(optimizer: Optimizer) -> int:
    """Tensors in the optimizer's state."""

    def tensors(value: Any) -> int:
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size()
        if isinstance(value, dict):
            return sum(tensors(item) for item in value.values())
        return sum(tensors(item) for item in value) if isinstance(value, list | tuple) else 0

    return tensors(optimizer.state_dict())
