"""Lightning's own starter, its data made here: nothing in it knows of studies."""

import lightning as L
import torch
from torch import nn, utils


class LitAutoEncoder(L.LightningModule):
    def __init__(self, latent: int = 3, learning_rate: float = 1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(8 * 8, 64), nn.ReLU(), nn.Linear(64, latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 64), nn.ReLU(), nn.Linear(64, 8 * 8))

    def forward(self, x):
        return self.encoder(x)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        x = x.view(x.size(0), -1)
        x_hat = self.decoder(self.encoder(x))
        loss = nn.functional.mse_loss(x_hat, x)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        x = x.view(x.size(0), -1)
        x_hat = self.decoder(self.encoder(x))
        self.log("val_loss", nn.functional.mse_loss(x_hat, x))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.learning_rate)

    def train_dataloader(self):
        return utils.data.DataLoader(images(0, 256), batch_size=32, shuffle=True)

    def val_dataloader(self):
        return utils.data.DataLoader(images(1, 64), batch_size=32)


def images(seed: int, count: int) -> utils.data.TensorDataset:
    """Pictures [N, 8, 8] of one bright row and one bright column, and which ones."""
    random = torch.Generator().manual_seed(seed)
    places = torch.randint(8, (count, 2), generator=random)
    pictures = 0.05 * torch.randn(count, 8, 8, generator=random)
    pictures[torch.arange(count), places[:, 0], :] += 1.0
    pictures[torch.arange(count), :, places[:, 1]] += 1.0
    return utils.data.TensorDataset(pictures, places)
