"""Trials whose first reports are as the study asks: as they should be, without a seed, under another name."""

from __future__ import annotations

import time
from typing import Any

import ray.train
import torch


def train(config: dict[str, Any]) -> None:
    how = config["how"]
    if how == "bad argument":
        raise SystemExit("train.py: error: argument --rate: invalid float value: 'fast'")
    for epoch in range(1, int(config["max_length"]) + 1):
        loss = config["level"] + (1 if how == "seedless" else config["seed"]) / epoch
        report = {"epoch": epoch, "val/loss": loss}
        if how == "no unit":
            report = {"val/loss": loss}
        elif how == "tensor":
            report["val/loss"] = torch.tensor(loss)
        elif how == "named":
            report = {"epoch": epoch, "val_loss": loss}
        ray.train.report(report)
        time.sleep(config["pause"])
