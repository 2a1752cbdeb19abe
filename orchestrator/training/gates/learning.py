"""A4: the loss that it starts with. A14: it generalises at all, the validation loss falls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.repeat import losses_of
from orchestrator.training.gates.results import EvidenceCurve, GateVerdict, failed, passed, skipped
from orchestrator.training.session import TrialStopped
from orchestrator.training.task import ID
from orchestrator.training.validation import evaluating

TOLERANCE = 0.5
"""Share of the expected loss by which the first one may differ: weights are random, depth adds to it."""
STEPS = 300
EVERY = 25
"""Steps between two looks at the validation set."""
SECONDS = 30.0
"""After this time the next look is the last."""
PLAIN = 0.8
"""A loss below this share of the first one has fallen plainly: no more steps are needed."""
FALL = 0.01
"""Share by which the loss has to fall, and by which a sample's own outputs have to beat another one's."""


def initial_loss(bench: Bench) -> GateVerdict:
    """Compare the loss of an untrained model on validation data with what the task expects of ignorance."""
    expected = bench.task.expected_loss(bench.config)
    if expected is None:
        return skipped("the task declares neither `classes` nor `expected_loss`")
    found = bench.val_loss(bench.model())
    text = f"the loss starts at {found:.3f}, {expected:.3f} is expected of a model that knows nothing"
    if abs(found - expected) <= TOLERANCE * abs(expected):
        return passed(text)
    if found < expected:
        cause = "the answer is in the input (a label among the features)"
        return failed(text, cause, "the loss leaves out a term")
    return failed(
        text,
        f"it is {found / expected:.3g} times that: is the loss summed instead of averaged?",
        "weights of the last layer too large: scale them down in init_weights",
        "inputs are not normalised, or labels do not fit the classes",
    )


def generalises(bench: Bench) -> GateVerdict:
    """Train the baseline for some steps, then compare its validation loss with that of swapped outputs."""
    deadline = time.monotonic() + SECONDS
    before = bench.val_loss(bench.model())
    config = {**bench.config, "train": {**bench.config["train"], "report_every": EVERY}}

    with bench.trainer(config, STEPS) as (trainer, place):

        def enough(metrics: Mapping[str, Any]) -> bool:
            loss = float(metrics["val/loss"])
            plainly = loss < PLAIN * before and _told_apart(loss, _swapped_loss(bench, trainer.model))
            return plainly or time.monotonic() > deadline

        place.stop_when = enough
        with suppress(TrialStopped):
            trainer.run()
        steps = int(place.reports[-1]["step"])
        after = bench.val_loss(trainer.model)
        swapped = _swapped_loss(bench, trainer.model)
    points = tuple((float(step), loss) for step, loss in losses_of(place).items())
    curve = EvidenceCurve(f"Training loss of the baseline over {steps} steps", "step", "loss", points)
    text = f"the validation loss goes from {before:.4g} to {after:.4g} in {steps} steps"
    told_apart = _told_apart(after, swapped)
    if after < before * (1 - FALL) and told_apart:
        return passed(text, curves=(curve,))
    if not told_apart:
        text += f", but with the outputs of other samples it is {swapped:.4g}: nothing is told apart"
    return failed(
        text,
        "inputs and labels do not belong together: shuffled or shifted on their own, or sorted differently",
        "train and val are made in different ways (scale, order of channels, labels)",
        "the learning rate: try orchestrate lr-find",
        "regularised too much for so short a training",
        curves=(curve,),
    )


def _told_apart(loss: float, swapped: float | None) -> bool:
    """Whether samples are told apart: the loss falls, too, where only frequencies of answers are learnt."""
    return swapped is None or loss <= swapped * (1 - FALL) or loss <= 1e-8


def _swapped_loss(bench: Bench, model: nn.Module) -> float | None:
    """Return the loss with each sample's outputs swapped; None where outputs are not by sample."""
    losses = []
    with evaluating(model):
        for batch in bench.val_batches():
            outputs = bench.outputs(model, batch)
            size = len(batch[ID])
            if size < 2 or any(value.dim() == 0 or len(value) != size for value in outputs.values()):
                continue
            moved = {name: torch.roll(value, 1, dims=0) for name, value in outputs.items()}
            losses.append(float(bench.loss_of(moved, batch)))
    return sum(losses) / len(losses) if losses else None
