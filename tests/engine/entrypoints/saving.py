"""Trials that keep their best weights in `out/best.pt`, as scripts do, and read them back at the end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import ray.train
import torch

import orchestrator


def train(config: dict[str, Any]) -> None:
    scale = float(Path("data.txt").read_text())
    meeting = Path(config["dir"])
    pause = threading.Event()
    for epoch in range(1, int(config["max_length"]) + 1):
        value = scale * config["level"] + epoch
        torch.save({"value": value}, "out/best.pt")
        if config["elsewhere"]:
            torch.save({"value": value}, meeting / "best.pt")
        (meeting / f"{config['level']}-{epoch}").touch()
        while len(list(meeting.glob(f"*-{epoch}"))) < config["together"]:  # all have saved before one loads
            pause.wait(0.02)
        loaded = torch.load("out/best.pt")["value"]
        assert orchestrator.trial_dir() == Path.cwd()
        ray.train.report({"epoch": epoch, "loss": loaded})
