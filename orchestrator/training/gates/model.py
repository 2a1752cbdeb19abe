"""A3: how large the model is. A4: the loss that it starts with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import Table, Verdict, failed, passed, skipped
from orchestrator.training.task import TRAIN, Batch
from orchestrator.training.validation import evaluating

LARGE = 1_000_000
"""Parameters from which a first model is not simple."""
MOST_ROWS = 60
TOLERANCE = 0.5
"""Share of the expected loss by which the first one may differ: weights are random, depth adds to it."""


def size(bench: Bench) -> Verdict:
    """Parameters, FLOPs of one step and memory; fails where there is nothing to train."""
    model = bench.model()
    batch = bench.augmented(bench.take(TRAIN, bench.order()[: bench.batch_size]))
    count = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trained == 0:
        return failed(
            f"none of the model's {count:,} parameters is trained", "requires_grad is off everywhere"
        )
    table, flops, kept = _measure(bench, model, batch)
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    memory = (
        f"{_bytes(held)} weights, {_bytes(kept)} kept for the backward pass of {bench.batch_size} samples"
    )
    text = f"{count:,} parameters"
    text += f", {count - trained:,} of them frozen" if trained < count else ""
    text += f"; {_flops(flops)} in a step" if flops else "; FLOPs not counted"
    warnings = []
    if count > LARGE:
        warnings.append(
            f"more than {LARGE:,} parameters: for a first check a smaller model is quicker to mend"
        )
    return passed(f"{text}; {memory}", tables=(table,), warnings=tuple(warnings))


def initial_loss(bench: Bench) -> Verdict:
    """The loss of an untrained model on validation data, against what the task expects of ignorance."""
    expected = bench.task.expected_loss(bench.config)
    if expected is None:
        return skipped("the task declares neither `classes` nor `expected_loss`")
    found = bench.mean_loss(bench.model(), bench.val_batches())
    text = f"the loss starts at {found:.3f}, {expected:.3f} is expected of a model that knows nothing"
    if abs(found - expected) <= TOLERANCE * abs(expected):
        return passed(text)
    causes = [
        f"it is {found / expected:.3g} times that: is the loss summed instead of averaged?",
        "weights of the last layer too large: scale them down in init_weights",
        "inputs are not normalised, or labels do not fit the classes",
    ]
    if found < expected:
        causes = ["the answer is in the input (a label among the features)", "the loss leaves out a term"]
    return failed(text, *causes)


def modules_with_parameters(model: nn.Module) -> dict[str, tuple[str, int]]:
    """Leaf modules and modules with parameters of their own: name -> (class, parameters of their own)."""
    found = {}
    for name, module in model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own or not list(module.children()):
            found[name or "(model)"] = (type(module).__name__, own)
    return found


def _measure(bench: Bench, model: nn.Module, batch: Batch) -> tuple[Table, int, int]:
    """Per-layer table, FLOPs of forward and backward, bytes that autograd keeps between them."""
    shapes: dict[str, str] = {}
    hooks = [
        module.register_forward_hook(_shape_into(shapes, name or "(model)"))
        for name, module in model.named_modules()
    ]
    kept: dict[int, int] = {}
    weights = {p.data_ptr() for p in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if isinstance(tensor, Tensor) and tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with evaluating(model):
        bench.outputs(model, batch)
    for hook in hooks:
        hook.remove()
    counter: Any = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        bench.loss(model, batch).backward()  # type: ignore[no-untyped-call]
    rows = [
        (name, kind, f"{own:,}", shapes.get(name, ""))
        for name, (kind, own) in modules_with_parameters(model).items()
    ]
    if len(rows) > MOST_ROWS:
        rows = [*rows[:MOST_ROWS], (f"… {len(rows) - MOST_ROWS} more", "", "", "")]
    table = Table("Layers", ("layer", "kind", "parameters", "output"), tuple(rows))
    return table, int(counter.get_total_flops()), sum(kept.values())


def _shape_into(shapes: dict[str, str], name: str) -> Any:
    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        if isinstance(output, Tensor):
            shapes[name] = str(list(output.shape))

    return note


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def _flops(count: int) -> str:
    for limit, unit in ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count / 1e3:.3g} kFLOP"
