"""The trial of `recovery.py`: epochs of a tenth of a second, each a checkpoint and a line in a trace."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import ray.train


def train(config: dict[str, Any]) -> None:
    """Train for `epochs`, or as many as a file `stop` says. The last rank writes the trace, and is killed."""
    folder, first = Path(config["dir"]), 1
    context = ray.train.get_context()
    writes = context.get_world_rank() == context.get_world_size() - 1 and config["epochs"] > 1
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as saved:
            first = int((Path(saved) / "epoch").read_text()) + 1
    for epoch in range(first, config["epochs"] + 1):
        time.sleep(0.1)  # the work of an epoch
        if writes:
            with (folder / "trace.txt").open("a") as trace:
                trace.write(f"{epoch} {os.getpid()} {time.time():.3f}\n")
        last = epoch == _end(folder, config["epochs"])
        reached = int(config["max_length"]) if last else epoch
        with tempfile.TemporaryDirectory() as saved:
            (Path(saved) / "epoch").write_text(str(epoch))
            metrics = {"epoch": reached, "loss": 1.0 / epoch}
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(saved))
        if last:
            return


def _end(folder: Path, epochs: int) -> int:
    try:
        return min(epochs, int((folder / "stop").read_text()))
    except FileNotFoundError:
        return epochs
