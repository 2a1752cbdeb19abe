"""Trials that say where they run, and die on the node whose id the file `bad` holds."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray
import ray.train


def train(config: dict[str, Any]) -> None:
    signs = Path(config["dir"])
    node = ray.get_runtime_context().get_node_id()
    start, checkpoint = 0, ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            start = int((Path(folder) / "epoch").read_text())
    for epoch in range(start + 1, int(config["max_length"]) + 1):
        (signs / f"{config['level']}-{config['seed']}-{epoch}-{node}").touch()
        bad = signs / "bad"
        if bad.exists() and bad.read_text() == node:
            os.kill(os.getpid(), signal.SIGKILL)
        hold = signs / "hold"
        pause = threading.Event()
        while hold.exists():  # until the test lets it go on
            pause.wait(0.02)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "epoch").write_text(str(epoch))
            ray.train.report(
                {"epoch": epoch, "loss": config["level"] / (epoch + config["seed"])},
                checkpoint=ray.train.Checkpoint(folder),
            )
