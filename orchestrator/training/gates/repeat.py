"""A10: the same seed twice is the same trial, bit for bit, and so is one that was interrupted."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training.gates.bench import Bench
from orchestrator.training.gates.results import GateVerdict, failed, passed
from orchestrator.training.local import LocalSession
from orchestrator.training.session import TrialStopped

STEPS = 6
HALF = 3


def repeats(bench: Bench) -> GateVerdict:
    """Run the real loop over six steps: twice in one process, then stopped after three and resumed."""
    config = {**bench.config, "train": {**bench.config["train"], "report_every": HALF}}
    first = _trial(bench, config)
    step = _first_difference(first, _trial(bench, config))
    if step is not None:
        causes = [
            "random numbers from outside the trial's streams: time, a generator of its own without the seed, "
            "os.urandom",
            "the order of a set, or of files as the directory lists them (sort them)",
            "state that outlives the trial: a module's global, a class attribute, data changed in place",
        ]
        if bench.device.type == "cuda":
            causes.append("kernels that are not deterministic: torch.use_deterministic_algorithms(True)")
        return failed(f"the same seed twice gives different trials, {step}", *causes)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        stop = {"checkpoints": True, "stop_when": lambda metrics: metrics["step"] >= HALF}
        early = _trial(bench, config, trial_dir=folder, **stop)
        torch.rand(7)  # another trial ran in between
        resume = LocalSession({}, 0, folder).checkpoint_path(HALF)
        late = _trial(bench, config, resume_from=resume)
    step = _first_difference(first, (early[0] | late[0], late[1]))
    if step is not None:
        return failed(
            f"a trial that is interrupted after {HALF} steps and resumed differs, {step}",
            "state that the checkpoint does not hold: attributes of Task or model that are no buffers "
            "(register_buffer)",
            "an optimizer whose state_dict leaves something out",
        )
    resumed = f"resumed after {HALF} of {STEPS} steps"
    return passed(f"the same seed twice, and a trial {resumed}: equal bit for bit")


Trial = tuple[dict[int, float], list[Tensor]]
"""Loss by step, and the weights at the end."""


def _trial(bench: Bench, config: dict[str, Any], **session: Any) -> Trial:
    with bench.trainer(config, STEPS, **session) as (trainer, place):
        with suppress(TrialStopped):
            trainer.run()
        return losses_of(place), weights_of(trainer.model)


def losses_of(place: LocalSession) -> dict[int, float]:
    """Training loss by step."""
    return {step: row["train/batch_loss"] for step, row in place.steps if "train/batch_loss" in row}


def weights_of(model: nn.Module) -> list[Tensor]:
    """Copy what its state_dict holds."""
    return [value.detach().cpu().clone() for value in model.state_dict().values()]


def _first_difference(one: Trial, other: Trial) -> str | None:
    """Where they part, in words."""
    for step in sorted(one[0] | other[0]):
        mine, theirs = one[0].get(step), other[0].get(step)
        if mine != theirs:
            return f"from step {step} on (loss {mine} and {theirs})"
    if not all(map(torch.equal, one[1], other[1])):
        return "in the weights at the end"
    return None
