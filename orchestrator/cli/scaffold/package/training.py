"""Step 3, the training: what the built-in loop needs to know about this recipe.

The loop brings optimiser, schedule, validation, checkpoints and TensorBoard; the optional hooks of `Task` (metrics,
an optimiser of your own, ...) are described in its docstrings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator import SampleDraws, Streams, Task
from torch import Tensor, nn
from torch.nn import functional as F

from {{package}} import data, model
from {{package}}.data import LABEL, POINT
from {{package}}.model import LOGITS


class Recipe(Task):
    """Classification of points."""

    data_keys = ("samples", "noise")  # while these stay the same, the data are kept between trials

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        return data.build(config["data"])

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        return model.build(config["model"])

    def init_weights(self, model: nn.Module, streams: Streams) -> None:
        # by name: an arm without one of the modules starts with the same weights everywhere else
        streams.reset_by_name(model)

    def augment(self, batch: dict[str, Tensor], draws: SampleDraws) -> dict[str, Tensor]:
        jitter = float(self.config["data"]["jitter"])
        return {**batch, POINT: batch[POINT] + jitter * draws.normal("jitter", columns=2)}  # [B, 2]

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs[LOGITS], batch[LABEL])  # []

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"accuracy": (outputs[LOGITS].argmax(dim=1) == batch[LABEL]).float()}  # [B]
