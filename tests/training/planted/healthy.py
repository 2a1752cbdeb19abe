"""A recipe without a fault; the others in this folder have one each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.training.task import Task

CLASSES, TRAIN, VAL = 4, 192, 64

CONFIG: dict[str, Any] = {
    "data": {"batch_size": 16, "jitter": 0.05},
    "model": {"width": 32, "dropout": 0.1},
    "optim": {"name": "adamw", "lr": 1e-2, "weight_decay": 0.01},
}


class Net(nn.Module):
    """x [B, 2, 4] -> logits [B, 4]."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(width, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x.flatten(1))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.head(self.features(batch["x"]))}


class Healthy(Task):
    """Which of four numbers is the largest? Four more only disturb."""

    data_keys = ()
    classes = CLASSES
    net: type[Net] = Net

    def build_data(self, config: Any) -> Any:
        x = torch.randn(TRAIN + VAL, 2, 4, generator=torch.Generator().manual_seed(7))
        label = x[:, 0].argmax(dim=1)
        return {
            "train": {"x": x[:TRAIN], "label": label[:TRAIN]},
            "val": {"x": x[TRAIN:], "label": label[TRAIN:]},
        }

    def build_model(self, config: Any) -> nn.Module:
        return self.net(int(config["model"]["width"]), float(config["model"]["dropout"]))

    def augment(self, batch: Any, draws: Any) -> Any:
        jitter = self.config["data"]["jitter"]
        return {**batch, "x": batch["x"] + jitter * draws.normal("jitter", 8).reshape(-1, 2, 4)}

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"])

    def scores(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        return {"accuracy": (outputs["logits"].argmax(1) == batch["label"]).float()}
