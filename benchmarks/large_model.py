"""A 100 MB model that learns nothing, as a Task and as a plain function, with a clock on its stalls.

A *stall* is what training waits for because of a checkpoint: the snapshot and the report that takes it
(Task), `torch.save` and `ray.train.report` (plain function). Config: `layers` of [1024, 1024] float32, 4.2 MB
each; `steps` an epoch; `stalls`, a file, one JSON line for each.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import ray.train
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator import Task
from orchestrator.engine.workers._worker import TaskSession
from orchestrator.training.loop import Trainer

WIDTH, CLASSES, BATCH = 1024, 10, 64


def build(layers: int) -> nn.Sequential:
    """[B, 1024] -> [B, 10]."""
    blocks = [module for _ in range(layers) for module in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    return nn.Sequential(*blocks, nn.Linear(WIDTH, CLASSES))


def samples(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise [count, 1024] float32 and labels [count] int64."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=source), torch.randint(CLASSES, (count,), generator=source)


def note(config: dict[str, Any], **fields: Any) -> None:
    """One line for the benchmark, if it wants one."""
    if not config["stalls"]:
        return
    with Path(config["stalls"]).open("a", encoding="utf-8") as sink:
        sink.write(json.dumps({"t": time.time(), **fields}) + "\n")


class Large(Task):
    """The model under the built-in loop."""

    kind = "other"

    def build_data(self, config: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
        found = {}
        for name, count in (("train", BATCH * config["steps"]), ("val", BATCH)):
            images, labels = samples(count, 0)
            found[name] = {"image": images, "label": labels}
        return found

    def build_model(self, config: dict[str, Any]) -> nn.Module:
        return build(config["layers"])

    def forward(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(batch["image"])}

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"])


def _timed(real: Any, what: str) -> Any:
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        config = (self if isinstance(self, TaskSession) else self.session).config
        began = time.perf_counter()
        try:
            return real(self, *args, **kwargs)
        finally:
            note(config, what=what, s=time.perf_counter() - began)

    return wrapped


Trainer._checkpoint = _timed(Trainer._checkpoint, "snapshot")  # type: ignore[method-assign]
TaskSession.report = _timed(TaskSession.report, "report")  # type: ignore[method-assign]


def train(config: dict[str, Any]) -> None:
    """The model as a plain Ray Train function."""
    torch.manual_seed(config["seed"])
    model = build(config["layers"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images, labels = samples(BATCH * config["steps"], 0)
    for epoch in range(1, int(config["max_length"]) + 1):
        total = 0.0
        for first in range(0, len(labels), BATCH):
            loss = F.cross_entropy(model(images[first : first + BATCH]), labels[first : first + BATCH])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(folder) / "state.pt")
            note(config, what="snapshot", s=time.perf_counter() - began)
            began = time.perf_counter()
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"epoch": epoch, "val/loss": total / config["steps"]}, checkpoint=checkpoint)
            note(config, what="report", s=time.perf_counter() - began)
