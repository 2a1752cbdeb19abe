"""Handwritten digits: a small residual network on the 1,797 scans of 8×8 pixels that scikit-learn ships.

Config keys: model.{width, batchnorm, dropout}, data.{batch_size, augment, mixup}, optim.{name, lr,
weight_decay, momentum, schedule, warmup}.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator import Streams, Task

if TYPE_CHECKING:
    from orchestrator import SampleDraws

IMAGE = "image"
LABEL = "label"
LOGITS = "logits"
OTHER_LABEL = "other_label"
SHARE = "share"

CLASSES = 10
TRAIN_SHARE = 0.8


class Digits(Task):
    """Ten-way classification of 8×8 grey images.

    Batch: image [B, 1, 8, 8] float32 in [0, 1], label [B] int64, id [B] int64. Outputs: logits [B, 10].
    """

    classes = CLASSES
    kind = "classification"
    data_keys = ()  # every arm and seed reads the same file

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        """All scans in one table; `split_data` takes it apart."""
        del config  # the data are the same whatever it says
        pixels, labels = load_scans()
        images = pixels.reshape(-1, 1, 8, 8) / 16.0
        return {"all": {IMAGE: images, LABEL: labels, "id": torch.arange(len(labels))}}

    def split_data(self, data: Mapping[str, Any], generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
        """80 % for training, the rest for validation, another split for every seed."""
        table = data["all"]
        order = torch.randperm(len(table[LABEL]), generator=generator)
        cut = int(TRAIN_SHARE * len(order))
        parts = {"train": order[:cut], "val": order[cut:]}
        return {name: {key: column[rows] for key, column in table.items()} for name, rows in parts.items()}

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        """A `ResidualNet` as config["model"] describes it."""
        model = config["model"]
        return ResidualNet(
            width=int(model["width"]), batchnorm=bool(model["batchnorm"]), dropout=float(model["dropout"])
        )

    def init_weights(self, model: nn.Module, streams: Streams) -> None:
        """By module name: a network without normalisation starts with the same convolutions."""
        streams.reset_by_name(model)

    def augment(self, batch: dict[str, Tensor], draws: SampleDraws) -> dict[str, Tensor]:
        """Shift by up to a pixel, then mix pairs of samples, each if the config says so."""
        data = self.config["data"]
        if data.get("augment", False):
            batch = {**batch, IMAGE: shift(batch[IMAGE], draws)}
        alpha = float(data.get("mixup", 0.0))
        return mixup(batch, draws, alpha) if alpha > 0 else batch

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy; of both labels in their shares where samples are mixed. [] float32."""
        logits = outputs[LOGITS]
        if SHARE not in batch:
            return F.cross_entropy(logits, batch[LABEL])
        own = F.cross_entropy(logits, batch[LABEL], reduction="none")
        other = F.cross_entropy(logits, batch[OTHER_LABEL], reduction="none")
        return (batch[SHARE] * own + (1.0 - batch[SHARE]) * other).mean()

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """accuracy [B]: 1 where the most likely digit is the right one."""
        return {"accuracy": (outputs[LOGITS].argmax(dim=1) == batch[LABEL]).float()}


def load_scans() -> tuple[Tensor, Tensor]:
    """Pixels [1797, 64] float32 in 0..16 and labels [1797] int64.

    Reads the file inside scikit-learn without importing it, which would take a second.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt") as lines:
        table = torch.from_numpy(np.loadtxt(lines, delimiter=",", dtype=np.float32))
    return table[:, :64].contiguous(), table[:, 64].long()


def shift(images: Tensor, draws: SampleDraws) -> Tensor:
    """Move every image by -1, 0 or 1 pixels in both directions, filling with black. [B, 1, 8, 8]."""
    by = draws.integers("shift", 0, 3, columns=2)  # [B, 2]
    padded = F.pad(images, (1, 1, 1, 1))
    grid = torch.arange(8)
    rows = (by[:, :1] + grid)[:, None, :, None]  # [B, 1, 8, 1]
    columns = (by[:, 1:] + grid)[:, None, None, :]  # [B, 1, 1, 8]
    samples = torch.arange(len(images))[:, None, None, None]
    return padded[samples, 0, rows, columns]


def mixup(batch: dict[str, Tensor], draws: SampleDraws, alpha: float) -> dict[str, Tensor]:
    """Blend each image with its neighbour in the batch, in shares drawn from Beta(alpha, alpha)."""
    share = beta(draws, alpha)  # [B]
    weight = share[:, None, None, None]
    image = batch[IMAGE]
    mixed = weight * image + (1.0 - weight) * image.roll(1, dims=0)
    return {**batch, IMAGE: mixed, OTHER_LABEL: batch[LABEL].roll(1, dims=0), SHARE: share}


def beta(draws: SampleDraws, alpha: float, tries: int = 8) -> Tensor:
    """[B] float32 from Beta(alpha, alpha), by Jöhnk's rejection method: the first of `tries` that fits.

    Raises:
        ValueError: alpha is above 1, where too few tries fit.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"data.mixup is {alpha}; valid: 0 (off) to 1")
    powers = draws.uniform("mixup", 2 * tries).pow(1.0 / alpha)
    one, two = powers[:, :tries], powers[:, tries:]
    total = one + two
    fits = (total > 0) & (total <= 1)
    first = fits.float().argmax(dim=1, keepdim=True)
    share = (one / total.clamp_min(1e-38)).gather(1, first).squeeze(1)
    return torch.where(fits.any(dim=1), share, torch.full_like(share, 0.5))


class ResidualNet(nn.Module):
    """Stem, one residual block at 8×8, one at 4×4 with twice the width, mean over space, linear."""

    def __init__(self, width: int, batchnorm: bool, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.fine = ResidualBlock(width, batchnorm)
        self.widen = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse = ResidualBlock(2 * width, batchnorm)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width * 4, CLASSES)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """image [B, 1, 8, 8] -> logits [B, 10]."""
        x = F.relu(self.stem(batch[IMAGE]))  # [B, W, 8, 8]
        x = self.widen(self.fine(x))  # [B, 2W, 4, 4]
        x = F.avg_pool2d(self.coarse(x), 2)  # [B, 2W, 2, 2]
        return {LOGITS: self.head(self.dropout(x.flatten(1)))}


class ResidualBlock(nn.Module):
    """x + conv(norm(relu(conv(norm(relu(x)))))), all [B, C, H, W]."""

    def __init__(self, channels: int, batchnorm: bool) -> None:
        super().__init__()
        self.norm_1 = nn.BatchNorm2d(channels) if batchnorm else nn.Identity()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_2 = nn.BatchNorm2d(channels) if batchnorm else nn.Identity()
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_1(F.relu(self.norm_1(x)))
        residual: Tensor = self.conv_2(F.relu(self.norm_2(y)))
        return x + residual
