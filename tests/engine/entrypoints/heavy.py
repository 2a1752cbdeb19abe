"""A plain Ray Train function with a checkpoint of a chosen size at every epoch; waits where a test wants it.

Config: `kib` (of the checkpoint), `scratch` (for temporary files), `dir` (a file `hold-<epoch>` there holds
the first trial there).
"""

import os
import tempfile
import time
from pathlib import Path

import ray.train


def train(config):
    if config.get("scratch"):
        tempfile.tempdir = config["scratch"]
    state = 0.0
    start = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start, state = (Path(folder) / "state").read_text().split()
            start, state = int(start), float(state)
    for epoch in range(start + 1, int(config["max_length"]) + 1):
        state = 0.5 * state + (config["seed"] + 1) * config["level"] / epoch
        signs = Path(config["dir"])
        if config["level"] == 1.0 and config["seed"] == 0:
            (signs / f"at-{epoch}").touch()
            while (signs / f"hold-{epoch}").exists():
                time.sleep(0.02)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state").write_text(f"{epoch} {state!r}")
            (Path(folder) / "weights").write_bytes(os.urandom(config["kib"] << 10))
            ray.train.report(
                {"epoch": epoch, "loss": state},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )
