"""CIFAR-10 or CIFAR-100 with a ResNet-18, or with its first stages only.

Config keys: data.{path, limit, batch_size, crop_flip, mixup, wrong_labels, channels}, model.{width, stages,
batchnorm, dropout}, and what the built-in loop reads. The data are the user's own files: see
`trials.cifarfiles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator import Streams, Task
from orchestrator.training.data.augment import crop, flip
from orchestrator.training.data.mixing import mixed_cross_entropy, mixup
from trials.cifarfiles import IMAGE, LABEL, read_cifar

if TYPE_CHECKING:
    from orchestrator import SampleDraws

LOGITS = "logits"
PADDING = 4
BLOCKS_PER_STAGE = 2
STAGES = 4
CHANNELS = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}


# --- model ---------------------------------------------------------------------------------------------


class ResNet(nn.Module):
    """ResNet-18 in its form for 32×32 pixels (He et al. 2016): a 3×3 stem, then stages of two basic blocks.

    Width W doubles and the resolution halves from stage to stage; 4 stages of W = 64 make the ResNet-18,
    fewer its crippled beginning.
    """

    def __init__(self, classes: int, width: int, stages: int, batchnorm: bool, dropout: float) -> None:
        """Raise ValueError when there are not 1 to 4 stages."""
        super().__init__()
        if not 1 <= stages <= STAGES:
            raise ValueError(f"model.stages is {stages}; valid: 1 to {STAGES}")
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=not batchnorm)
        self.norm = normalisation(width, batchnorm)
        self.stages = nn.ModuleList()
        inputs = width
        for stage in range(stages):
            outputs = width * 2**stage
            first = BasicBlock(inputs, outputs, 1 if stage == 0 else 2, batchnorm)
            rest = (BasicBlock(outputs, outputs, 1, batchnorm) for _ in range(BLOCKS_PER_STAGE - 1))
            self.stages.append(nn.Sequential(first, *rest))
            inputs = outputs
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, classes)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """image [B, 3, 32, 32] in 0..255 -> logits [B, C]."""
        scaled = batch[IMAGE].float() / 64.0 - 2.0  # about zero mean and unit variance
        x = F.relu(self.norm(self.stem(scaled)))  # [B, W, 32, 32]
        for stage in self.stages:
            x = stage(x)  # stage i: [B, 2^i · W, 32 / 2^i, 32 / 2^i]
        return {LOGITS: self.head(self.dropout(x.mean(dim=(2, 3))))}


class BasicBlock(nn.Module):
    """relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))); [B, I, H, H] -> [B, O, H / s, H / s]."""

    def __init__(self, inputs: int, outputs: int, stride: int, batchnorm: bool) -> None:
        super().__init__()
        bias = not batchnorm
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
        self.norm_1 = normalisation(outputs, batchnorm)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.norm_2 = normalisation(outputs, batchnorm)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=bias), normalisation(outputs, batchnorm)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm_1(self.conv_1(x)))
        return F.relu(self.shortcut(x) + self.norm_2(self.conv_2(y)))


def normalisation(channels: int, batchnorm: bool) -> nn.Module:
    """Batch normalisation, or nothing."""
    return nn.BatchNorm2d(channels) if batchnorm else nn.Identity()


# --- training ------------------------------------------------------------------------------------------


class Cifar(Task):
    """Classification of 32×32 colour images.

    Batch: image [B, 3, 32, 32] in 0..255 (uint8; float32 where mixed), label [B] int64, id [B] int64.
    Outputs: logits [B, C]. CIFAR's test set is not touched, since an ablation chooses: a tenth of the
    training set, another one for every seed, is the validation set.
    """

    kind = "classification"
    data_keys = ("path", "limit")

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        """Return the official training set, or its first data.limit images."""
        table = read_cifar(str(config["data"]["path"]))["train"]
        limit = config["data"].get("limit") or len(table[LABEL])
        images, labels = table[IMAGE][:limit], table[LABEL][:limit]
        return {"all": {IMAGE: images, LABEL: labels, "id": torch.arange(len(labels))}}

    def split_data(self, data: Mapping[str, Any], generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
        """Nine tenths for training, with data.wrong_labels of their labels drawn anew.

        The colours of both sets come in the order of data.channels.

        Raises:
            ValueError: data.channels is not one of the two orders.
        """
        channels = str(self.config["data"]["channels"])
        if channels not in CHANNELS:
            raise ValueError(f"data.channels is {channels!r}; valid: {', '.join(CHANNELS)}")
        table = {**data["all"], IMAGE: data["all"][IMAGE][:, CHANNELS[channels]]}
        self.classes = int(table[LABEL].max()) + 1
        order = torch.randperm(len(table[LABEL]), generator=generator)
        cut = int(0.9 * len(order))
        train, val = (
            {key: column[rows] for key, column in table.items()} for rows in (order[:cut], order[cut:])
        )
        wrong = torch.rand(cut, generator=generator) < float(self.config["data"]["wrong_labels"])
        guesses = torch.randint(self.classes, (cut,), generator=generator)
        train[LABEL] = torch.where(wrong, guesses, train[LABEL])
        return {"train": train, "val": val}

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a `ResNet` as config["model"] describes it, with one output per class."""
        model = config["model"]
        return ResNet(
            self.classes,
            width=int(model["width"]),
            stages=int(model["stages"]),
            batchnorm=bool(model["batchnorm"]),
            dropout=float(model["dropout"]),
        )

    def init_weights(self, model: nn.Module, streams: Streams) -> None:
        """By module name: arms share the weights of the layers that they share."""
        streams.reset_by_name(model)

    def augment(self, batch: dict[str, Tensor], draws: SampleDraws) -> dict[str, Tensor]:
        """Crop after padding and mirror, then mix pairs of samples, each if the config says so."""
        data = self.config["data"]
        if data["crop_flip"]:
            batch = {**batch, IMAGE: flip(crop(batch[IMAGE], draws, PADDING), draws)}
        return mixup(batch, draws, alpha=1.0) if data["mixup"] else batch

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy; of both labels in their shares where samples are mixed. [] float32."""
        return mixed_cross_entropy(outputs[LOGITS], batch)

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """accuracy [B]; top5 [B]: is the right class among the five likeliest?"""
        logits, label = outputs[LOGITS], batch[LABEL]
        likeliest = logits.topk(min(5, logits.shape[1]), dim=1).indices  # [B, 5]
        hits = likeliest == label[:, None]
        return {"accuracy": hits[:, 0].float(), "top5": hits.any(dim=1).float()}
