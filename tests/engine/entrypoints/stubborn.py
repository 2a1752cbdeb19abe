"""An entrypoint that ignores its seed, and fails in one arm until a file says that it was mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.train


def train(config: dict[str, Any]) -> None:
    for epoch in range(1, int(config["max_length"]) + 1):
        if config["broken"] and not (Path(config["dir"]) / "mended").exists():
            raise RuntimeError("broken until mended")
        ray.train.report({"epoch": epoch, "loss": config["level"] / epoch})
