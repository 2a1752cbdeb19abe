"""Tasks with a kind, and what their monitors wrote."""

from __future__ import annotations

from typing import Any

import torch
from memorysink import MemorySink
from torch import Tensor, nn
from torch.nn import functional as F
from toy import FEATURES, Toy

from orchestrator.training.local import LocalSession
from orchestrator.training.loop import Trainer
from orchestrator.training.task import Task

SEEN = 37


class KnownToy(Toy):
    kind = "classification"
    class_names = ("low", "middle", "high")


class Measured(KnownToy):
    """With a metric of torchmetrics beside the monitors."""

    def metrics(self) -> dict[str, Any]:
        from torchmetrics.classification import MulticlassF1Score

        return {"f1": MulticlassF1Score(3, average="macro")}

    def metric_inputs(self, outputs: Any, batch: Any) -> tuple[Tensor, ...]:
        return outputs["logits"], batch["label"]


class Fixed(Task):
    """Predictions that are part of the data: what is measured on them is known. Trains one idle number."""

    data_keys = ()
    target_of: Any
    scores_of: Any

    def build_data(self, config: Any) -> Any:
        generator = torch.Generator().manual_seed(5)
        table = {"scores": self.scores_of(generator), "label": self.target_of(generator)}
        return {"train": table, "val": table}

    def build_model(self, config: Any) -> nn.Module:
        return Through()

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return outputs["logits"].float().square().mean()


class Through(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(()))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": batch["scores"] + 0 * self.idle}


def fixed(kind: str, scores_of: Any, target_of: Any) -> type[Task]:
    """A task of this kind with `SEEN` samples."""
    members = {"kind": kind, "scores_of": staticmethod(scores_of), "target_of": staticmethod(target_of)}
    return type("Fixed", (Fixed,), members)


def watch(task_class: type[Task], session: LocalSession) -> MemorySink:
    """Train to the end; what the monitors wrote."""
    sink = session.sink = MemorySink()
    session.scalars = sink.scalars  # type: ignore[method-assign]
    Trainer(task_class(session.config), session).run()
    return sink


class Corner(nn.Module):
    """One convolution that passes the picture on, and a head that looks at the lower right quarter only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.head(F.relu(self.conv(batch["image"])).mean(dim=(2, 3)))}


class Bright(Task):
    """Pictures with one bright corner."""

    kind = "classification"
    data_keys = ()

    def build_data(self, config: Any) -> Any:
        image = torch.zeros(4, 1, 6, 6)
        image[:, :, 4:, 4:] = 1.0
        table = {"image": image, "label": torch.zeros(4, dtype=torch.int64)}
        return {"train": table, "val": table}

    def build_model(self, config: Any) -> nn.Module:
        return Corner()

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"])

    def visualize(self, outputs: Any, batch: Any) -> dict[str, Any]:
        return {"picture": batch["image"], "said": [str(int(c)) for c in outputs["logits"].argmax(1)]}


__all__ = ["FEATURES", "SEEN", "Bright", "Corner", "KnownToy", "Measured", "fixed", "watch"]
