"""A task with everything in it that draws random numbers or keeps state."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.training.local import LocalSession
from orchestrator.training.loop import Trainer, run_task
from orchestrator.training.session import TrialStopped
from orchestrator.training.task import Task

SAMPLES, FEATURES = 90, 6


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(FEATURES, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3)
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.body(batch["x"])}


class Toy(Task):
    """Three classes from six numbers; noise and mixing as augmentation, dropout, batch normalisation."""

    data_keys = ()
    built = 0

    def build_data(self, config: Any) -> dict[str, dict[str, Tensor]]:
        type(self).built += 1
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(SAMPLES, FEATURES, generator=generator)
        return {"all": {"x": x, "label": x[:, :3].argmax(dim=1)}}

    def split_data(self, data: Any, generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
        order = torch.randperm(SAMPLES, generator=generator)
        take = {"train": order[:65], "val": order[65:]}
        return {part: {k: v[rows] for k, v in data["all"].items()} for part, rows in take.items()}

    def build_model(self, config: Any) -> nn.Module:
        return Net()

    def augment(self, batch: Any, draws: Any) -> Any:
        x = batch["x"] + 0.1 * draws.normal("noise", FEATURES)
        share = draws.uniform("mix")
        return {**batch, "x": share * x + (1 - share) * x.roll(1, 0)}

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"])

    def scores(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        return {"accuracy": (outputs["logits"].argmax(1) == batch["label"]).float()}


class KnownToy(Toy):
    """The same with an id for each sample."""

    def build_data(self, config: Any) -> dict[str, dict[str, Tensor]]:
        table = super().build_data(config)["all"]
        return {"all": {**table, "id": 1000 + torch.arange(SAMPLES)}}


CONFIG: dict[str, Any] = {
    "seed": 3,
    "data": {"batch_size": 8},
    "optim": {"name": "sgd", "lr": 0.05, "weight_decay": 0.01, "schedule": "cosine", "warmup": 3},
    "train": {"val_batch_every": 0},
}


class Pair(nn.Module):
    """A classifier, and a critic that tells its confidence from noise."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 3)
        self.critic = nn.Linear(3, 1)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.body(batch["x"])}


class Adversarial(Toy):
    """Two optimizers, one after the other in each step."""

    def build_model(self, config: Any) -> nn.Module:
        self.turns: list[tuple[str, bool, bool]] = []
        return Pair()

    def optimizers(self, model: Any, config: Any) -> Mapping[str, Any]:
        return {
            "critic": torch.optim.SGD(model.critic.parameters(), lr=0.1, momentum=0.9),
            "body": torch.optim.Adam(model.body.parameters(), lr=0.01),
        }

    def loss_of(self, name: str, model: Any, batch: Any) -> Tensor:
        logits = self.forward(model, batch)["logits"]
        parts = (model.body.weight, model.critic.weight)
        before = getattr(self, "before", parts)
        self.turns.append((name, *(not torch.equal(*pair) for pair in zip(parts, before, strict=True))))
        self.before = tuple(part.detach().clone() for part in parts)
        if name == "critic":
            return (
                F.softplus(-model.critic(torch.zeros_like(logits))).mean()
                + F.softplus(model.critic(logits.detach())).mean()
            )
        return self.loss({"logits": logits}, batch) + F.softplus(-model.critic(logits)).mean()


def config(**changes: Any) -> dict[str, Any]:
    """CONFIG with `section__key=value` changes."""
    changed = copy.deepcopy(CONFIG)
    for name, value in changes.items():
        *sections, key = name.split("__")
        target = changed
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = value
    return changed


def weights(trainer: Trainer) -> list[Tensor]:
    return [tensor.clone() for tensor in trainer.model.state_dict().values()]


def train(session: LocalSession, task_class: type[Task] = Toy) -> Trainer:
    """A whole trial; gives back the trainer, whose weights are the result."""
    trainer = Trainer(task_class(session.config), session)
    trainer.run()
    return trainer


def run_until_stopped(session: LocalSession, task_class: type[Task] = Toy) -> None:
    with pytest.raises(TrialStopped):
        run_task(task_class, session)
