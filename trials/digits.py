"""Handwritten digits: a small residual network on the 1,797 scans of 8×8 pixels that scikit-learn ships.

Config keys: model.{width, batchnorm, dropout}, data.{batch_size, augment, mixup, balanced, wrong_labels,
numbering}, optim.{name, lr, weight_decay, momentum, schedule, warmup}.
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
from orchestrator.training.data.augment import crop
from orchestrator.training.data.label_noise import wrong_labels
from orchestrator.training.data.mixing import mixed_cross_entropy, mixup

if TYPE_CHECKING:
    from orchestrator import SampleDraws

IMAGE = "image"
LABEL = "label"
LOGITS = "logits"

CLASSES = 10
TRAIN_SHARE = 0.8
NUMBERINGS = ("ascending", "descending")


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
        """80 % for training, the rest for validation, another split for every seed.

        data.wrong_labels is the share of training labels that are made wrong; data.numbering counts the
        classes of both sets upwards or downwards.

        Raises:
            ValueError: one of the two is not valid.
        """
        settings = self.config["data"]
        numbering = str(settings.get("numbering", "ascending"))
        if numbering not in NUMBERINGS:
            raise ValueError(f"data.numbering is {numbering!r}; valid: {', '.join(NUMBERINGS)}")
        table = data["all"]
        if numbering == "descending":
            table = {**table, LABEL: CLASSES - 1 - table[LABEL]}
        order = torch.randperm(len(table[LABEL]), generator=generator)
        cut = int(TRAIN_SHARE * len(order))
        parts = {"train": order[:cut], "val": order[cut:]}
        sets = {name: {key: column[rows] for key, column in table.items()} for name, rows in parts.items()}
        share = float(settings.get("wrong_labels", 0.0))
        if share:
            sets["train"][LABEL], _ = wrong_labels(sets["train"][LABEL], share, CLASSES, self.streams)
        return sets

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a `ResidualNet` as config["model"] describes it."""
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
            batch = {**batch, IMAGE: crop(batch[IMAGE], draws, padding=1, name="shift")}
        alpha = float(data.get("mixup", 0.0))
        return mixup(batch, draws, alpha) if alpha > 0 else batch

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy; of both labels in their shares where samples are mixed. [] float32."""
        return mixed_cross_entropy(outputs[LOGITS], batch)

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
