"""A LightningModule and its Trainer in a script; the curves are TensorBoard's, as Lightning writes them."""

import argparse

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Rings(L.LightningModule):
    """A small network that tells two rings apart."""

    def __init__(self, width, lr, nonlinear):
        super().__init__()
        act = nn.Tanh() if nonlinear else nn.Identity()
        self.net = nn.Sequential(nn.Linear(2, width), act, nn.Linear(width, 1))
        self.lr = lr

    def training_step(self, batch, _):
        x, y = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        x, y = batch
        self.log("val_acc", ((self.net(x) > 0) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main():
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--linear", action="store_true")
    parser.add_argument("--max_epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    L.seed_everything(args.seed)
    angle, outer = torch.rand(600, 1) * 6.2832, (torch.arange(600) % 2)[:, None].float()
    points = torch.cat([angle.cos(), angle.sin()], dim=1) * (1 + outer + 0.2 * torch.randn(600, 1))
    train, val = TensorDataset(points[:400], outer[:400]), TensorDataset(points[400:], outer[400:])
    trainer = L.Trainer(max_epochs=args.max_epochs, accelerator="cpu", devices=1, log_every_n_steps=5)
    trainer.fit(
        Rings(args.width, args.lr, not args.linear),
        DataLoader(train, batch_size=20, shuffle=True),
        DataLoader(val, batch_size=200),
    )


if __name__ == "__main__":
    main()
