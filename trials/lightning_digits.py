"""A LightningModule and a DataModule as in Lightning's tutorials; they know nothing of the orchestrator.

Config: model.{hidden, dropout} and optim.lr are arguments of `LitDigits`, data.batch_size is one of
`DigitsData`, `trainer` holds options of `lightning.Trainer`.
"""

from __future__ import annotations

from typing import Any

import lightning as L  # noqa: N812 - the usual name
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.utils.data import DataLoader, TensorDataset, random_split


class LitDigits(L.LightningModule):
    """A classifier of handwritten digits: [B, 64] -> [B, 10]."""

    def __init__(self, hidden: int = 64, dropout: float = 0.1, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(dim=1) == y).float().mean())

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)}


class DigitsData(L.LightningDataModule):
    """The 1,797 digits that scikit-learn ships: 80 % to train on, 20 % to validate."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        digits = load_digits()
        images = torch.from_numpy(digits.data).float() / 16.0
        whole = TensorDataset(images, torch.from_numpy(digits.target).long())
        self.train, self.val = random_split(whole, [0.8, 0.2], generator=torch.Generator().manual_seed(0))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, batch_size=self.batch_size)
