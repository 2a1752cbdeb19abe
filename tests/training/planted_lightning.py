"""LightningModules with one planted fault each."""

from __future__ import annotations

import random
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Sound(L.LightningModule):
    """A line through points; each subclass below plants one fault."""

    lowest_loss = 0.0

    def __init__(self, hidden: int = 16, lr: float = 0.01, unused: float = 0.0) -> None:
        super().__init__()
        self.lr = lr
        self.first = nn.Linear(4, hidden)
        self.last = nn.Linear(hidden, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = nn.functional.mse_loss(self.last(torch.tanh(self.first(x))), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.last(torch.tanh(self.first(x))), y))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> Any:
        return DataLoader(points(0, 64), batch_size=16, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(points(1, 32), batch_size=16)


def points(seed: int, count: int) -> TensorDataset:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.sum(dim=1, keepdim=True))


class Overlapping(Sound):
    def val_dataloader(self) -> Any:
        return DataLoader(points(0, 32), batch_size=16)


class Detached(Sound):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return nn.functional.mse_loss(self.last(torch.tanh(self.first(x)).detach()), y)


class Unseeded(Sound):
    source = random.SystemRandom()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * self.source.uniform(0.5, 1.5)


class Forgetful(Sound):
    def on_train_epoch_start(self) -> None:
        self.factor = 2.0 * getattr(self, "factor", 1.0)  # no checkpoint has it

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * getattr(self, "factor", 1.0)


class ByHand(Sound):
    def __init__(self, hidden: int = 16, lr: float = 0.01, unused: float = 0.0) -> None:
        super().__init__(hidden, lr, unused)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss
