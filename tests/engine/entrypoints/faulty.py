"""An entrypoint that goes wrong in the way that config["fault"] names, in its third epoch.

Until then every fault trains the same: its curve must begin like the one of the trial without a fault,
whatever the trial before it on the same workers has done to the process.
"""

# ruff: noqa: T201 - one of the faults is printing

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray.train
import torch

FAULT_EPOCH = 3
MEGABYTE = 1 << 20
SIZE = 256


def train(config: dict[str, Any]) -> None:
    """A few steps per epoch on random data: sensitive to dtype, precision, threads and random state."""
    torch.manual_seed(int(config["seed"]))
    weight, first = torch.randn(SIZE, SIZE) / 16, 1
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder) / "state.pt")
        weight, first = saved["weight"], saved["epoch"] + 1
        torch.set_rng_state(saved["random"])
    for epoch in range(first, int(config["max_length"]) + 1):
        for _ in range(3):
            x, noise = torch.rand(2, SIZE, SIZE).to(weight.dtype)
            weight = torch.tanh(x @ weight / 16 + 0.1 * noise) / 4
        metrics: dict[str, Any] = {
            "epoch": epoch,
            "loss": float(weight.square().sum()),
            "noise": torch.rand(1).item(),
        }
        if epoch == FAULT_EPOCH:
            metrics = FAULTS[config["fault"]](metrics)
            if not metrics:
                return
        if config["fault"] == "silent":
            metrics["other"] = metrics.pop("loss")
        with tempfile.TemporaryDirectory() as folder:
            state = {"weight": weight, "epoch": epoch, "random": torch.get_rng_state()}
            torch.save(state, Path(folder) / "state.pt")
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def none(metrics: dict[str, Any]) -> dict[str, Any]:
    return metrics


def nan(metrics: dict[str, Any]) -> dict[str, Any]:
    return {**metrics, "loss": float("nan")}


def tensor(metrics: dict[str, Any]) -> dict[str, Any]:
    return {**metrics, "loss": torch.tensor(metrics["loss"])}


def early(_: dict[str, Any]) -> dict[str, Any]:
    return {}


def prints(metrics: dict[str, Any]) -> dict[str, Any]:
    line = "x" * 1023
    for _ in range(24 * MEGABYTE // 1024):
        print(line)
    print("the last line")
    return metrics


def thread(metrics: dict[str, Any]) -> dict[str, Any]:
    threading.Thread(target=threading.Event().wait, name="left-behind", daemon=True).start()
    return metrics


def flags(metrics: dict[str, Any]) -> dict[str, Any]:
    """Everything that changes what the next trial would compute, if it stayed."""
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.set_grad_enabled(False)
    torch.manual_seed(99)
    os.environ["LEFT_BEHIND"] = "1"
    os.chdir("/")
    sys.path.insert(0, "/left-behind")
    return metrics


def raises(_: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("the fault of the user's own code")


def leaves(_: dict[str, Any]) -> dict[str, Any]:
    sys.exit(3)


FAULTS = {
    "none": none,
    "silent": none,
    "nan": nan,
    "tensor": tensor,
    "early": early,
    "prints": prints,
    "thread": thread,
    "flags": flags,
    "raises": raises,
    "leaves": leaves,
}
