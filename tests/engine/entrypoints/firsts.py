"""Trials whose first reports are as the study asks: as they should be, without a seed, without a unit."""

from __future__ import annotations

import time
from typing import Any

import ray.train


def train(config: dict[str, Any]) -> None:
    how = config["how"]
    for epoch in range(1, int(config["max_length"]) + 1):
        loss = config["level"] + (1 if how == "seedless" else 1 + config["seed"]) / epoch
        report = {"epoch": epoch, "val/loss": loss}
        if how == "no unit":
            report = {"val/loss": loss}
        ray.train.report(report)
        time.sleep(config["pause"])
