"""A LightningModule and a LightningDataModule behind LightningCLI: their arguments are its options."""

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Rings(L.LightningModule):
    """A small network that tells two rings apart."""

    def __init__(self, width: int = 16, lr: float = 0.05, linear: bool = False):
        super().__init__()
        self.save_hyperparameters()
        act = nn.Identity() if linear else nn.Tanh()
        self.net = nn.Sequential(nn.Linear(2, width), act, nn.Linear(width, 1))

    def training_step(self, batch, _):
        x, y = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        self.log("val_acc", ((self.net(x) > 0) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class Points(L.LightningDataModule):
    """Points on the two rings."""

    def __init__(self, batch_size: int = 20):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        angle, outer = torch.rand(600, 1) * 6.2832, (torch.arange(600) % 2)[:, None].float()
        points = torch.cat([angle.cos(), angle.sin()], dim=1) * (1 + outer + 0.2 * torch.randn(600, 1))
        self.train, self.val = (
            TensorDataset(points[:400], outer[:400]),
            TensorDataset(points[400:], outer[400:]),
        )

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=200)


if __name__ == "__main__":
    LightningCLI(Rings, Points)
