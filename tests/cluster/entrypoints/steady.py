"""A function that takes its time, whose curve depends on every step before, and which leaves a trace.

Each epoch adds a line to a file of the cell in config["dir"]: number of the epoch, host, process, and the time
at which it was finished. So a test can count what was computed more than once, whatever the record says.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import ray.train
import torch


def train(config: dict[str, Any]) -> None:
    dice, weight, first = random.Random(config["seed"]), float(config["level"]), 1
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder) / "state.pt")
        weight, first = saved["weight"], saved["epoch"] + 1
        for _ in range(saved["epoch"]):
            dice.random()
    trace = Path(config["dir"]) / f"{config['level']:g}-{config['seed']}.txt"
    for epoch in range(first, int(config["max_length"]) + 1):
        time.sleep(config["epoch_s"])  # the work of an epoch
        weight = 0.9 * weight + dice.random() / epoch
        with trace.open("a") as lines:
            lines.write(f"{epoch} {socket.gethostname()} {os.getpid()} {time.time():.3f}\n")
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"weight": weight, "epoch": epoch}, Path(folder) / "state.pt")
            ray.train.report(
                {"epoch": epoch, "loss": weight}, checkpoint=ray.train.Checkpoint.from_directory(folder)
            )
