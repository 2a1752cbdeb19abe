"""Step 2, the model: a batch (dict) goes in, outputs (dict) come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from {{package}}.data import CLASSES, POINT

LOGITS = "logits"  # [B, CLASSES] float32


class Block(nn.Module):
    """Linear, normalisation, activation, dropout; adds its input: [B, width] -> [B, width]."""

    def __init__(self, width: int, batchnorm: bool, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width) if batchnorm else nn.Identity()
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.dropout(self.activation(self.norm(self.linear(hidden))))  # [B, width]


class Classifier(nn.Module):
    """A stack of blocks between two linear layers."""

    def __init__(self, width: int, depth: int, batchnorm: bool, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(2, width)
        self.blocks = nn.Sequential(*(Block(width, batchnorm, dropout) for _ in range(depth)))
        self.leave = nn.Linear(width, CLASSES)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        hidden = self.enter(batch[POINT])  # [B, 2] -> [B, width]
        hidden = self.blocks(hidden)  # [B, width]
        return {LOGITS: self.leave(hidden)}  # [B, CLASSES]


def build(config: Mapping[str, Any]) -> nn.Module:
    """The model that config["model"] describes."""
    return Classifier(
        width=int(config["width"]),
        depth=int(config["depth"]),
        batchnorm=bool(config["batchnorm"]),
        dropout=float(config["dropout"]),
    )
