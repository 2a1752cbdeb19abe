"""A3: how large the model is. A4: the loss that it starts with."""

from __future__ import annotations

from torch import nn

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.layers import in_bytes, in_flops, layer_table, measure_layers
from orchestrator.training.gates.results import GateVerdict, failed, passed, skipped
from orchestrator.training.task import TRAIN

LARGE = 1_000_000
"""Parameters from which a first model is not simple."""
TOLERANCE = 0.5
"""Share of the expected loss by which the first one may differ: weights are random, depth adds to it."""


def size(bench: Bench) -> GateVerdict:
    """Parameters, FLOPs of one step and memory; fails where there is nothing to train."""
    model = bench.model()
    batch = bench.augmented(bench.take(TRAIN, bench.order()[: bench.batch_size]))
    count = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if trained == 0:
        return failed(
            f"none of the model's {count:,} parameters is trained", "requires_grad is off everywhere"
        )
    layers = measure_layers(bench, model, batch)
    table = layer_table(layers)
    flops, kept = (sum(getattr(layer, what) for layer in layers) for what in ("flops", "kept"))
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    memory = (
        f"{in_bytes(held)} weights, {in_bytes(kept)} kept for the backward pass of {bench.batch_size} samples"
    )
    text = f"{count:,} parameters"
    text += f", {count - trained:,} of them frozen" if trained < count else ""
    text += f"; {in_flops(flops)} in a step" if flops else "; FLOPs not counted"
    warnings = []
    if count > LARGE:
        warnings.append(
            f"more than {LARGE:,} parameters: for a first check a smaller model is quicker to mend"
        )
    return passed(f"{text}; {memory}", tables=(table,), warnings=tuple(warnings))


def initial_loss(bench: Bench) -> GateVerdict:
    """Compare the loss of an untrained model on validation data with what the task expects of ignorance."""
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
