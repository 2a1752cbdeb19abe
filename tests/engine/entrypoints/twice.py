"""The n-th process that comes waits in its second epoch while `hold-<n>` lies in config["dir"]."""

import tempfile
import time
from pathlib import Path

import ray.train


def train(config):
    place = Path(config["dir"])
    number = next(n for n in range(1, 100) if came(place / f"came-{n}"))
    start, done = ray.train.get_checkpoint(), 0
    if start is not None:
        with start.as_directory() as folder:
            done = int((Path(folder) / "epoch").read_text())
    for epoch in range(done + 1, config["max_length"] + 1):
        if epoch == 2:
            (place / f"waits-{number}").touch()
            while (place / f"hold-{number}").exists():
                time.sleep(0.02)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "epoch").write_text(str(epoch))
            ray.train.report(
                {"epoch": epoch, "step": epoch, "loss": float(number)},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )


def came(sign):
    try:
        sign.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
