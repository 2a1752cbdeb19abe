"""Segmentation of drawn shapes (discs, squares, triangles on a noisy ground) with a small U-Net.

Config keys: data.{images, batch_size, augment, mask_shift, numbering}, model.{width, skips, batchnorm},
loss.dice, and what the built-in loop reads. The pictures are the same for every seed; the seed
decides the split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator import Streams, Task

if TYPE_CHECKING:
    from orchestrator import SampleDraws

IMAGE = "image"
MASK = "mask"
LOGITS = "logits"

CLASSES = ("ground", "disc", "square", "triangle")
SIZE = 32
SHAPES_PER_IMAGE = 3
TRAIN_SHARE = 0.75
NUMBERINGS = ("ascending", "descending")


# --- data ----------------------------------------------------------------------------------------------


def draw_images(count: int) -> tuple[Tensor, Tensor]:
    """Images [N, 1, 32, 32] float32 and masks [N, 32, 32] int64 (places in `CLASSES`), always the same ones.

    Three shapes each, of random kind, place, size, turn and brightness, the later over the earlier.
    """
    draws = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    image = 0.25 * torch.randn(count, SIZE, SIZE, generator=draws)
    mask = torch.zeros(count, SIZE, SIZE, dtype=torch.int64)
    for _ in range(SHAPES_PER_IMAGE):
        number = torch.rand(5, count, 1, 1, generator=draws)
        kind = torch.randint(1, len(CLASSES), (count, 1, 1), generator=draws)
        radius = 4.0 + 4.0 * number[0]
        right, down = x - (4.0 + 24.0 * number[1]), y - (4.0 + 24.0 * number[2])  # from the centre
        turn = 2.0 * torch.pi * number[3]
        along, across = right * turn.cos() + down * turn.sin(), down * turn.cos() - right * turn.sin()
        disc = along**2 + across**2 < radius**2
        square = torch.maximum(along.abs(), across.abs()) < 0.85 * radius
        triangle = (along > -0.6 * radius) & (along + 1.7 * across.abs() < 1.2 * radius)
        inside = torch.where(kind == 1, disc, torch.where(kind == 2, square, triangle))
        image = torch.where(inside, image * 0.6 + 0.5 + 0.7 * number[4], image)
        mask = torch.where(inside, kind, mask)
    return image[:, None], mask


# --- model ---------------------------------------------------------------------------------------------


class UNet(nn.Module):
    """Two steps down, two steps up; `skips` hands each resolution of the way down to the way up."""

    def __init__(self, width: int, skips: bool, batchnorm: bool) -> None:
        super().__init__()
        self.skips = skips
        one, two, four = width, 2 * width, 4 * width
        extra = 1 if skips else 0
        self.fine_down = convolutions(1, one, batchnorm)
        self.middle_down = convolutions(one, two, batchnorm)
        self.coarse = convolutions(two, four, batchnorm)
        self.middle_up = convolutions(four + extra * two, two, batchnorm)
        self.fine_up = convolutions(two + extra * one, one, batchnorm)
        self.head = nn.Conv2d(one, len(CLASSES), 1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """image [B, 1, 32, 32] -> logits [B, 4, 32, 32]."""
        fine = self.fine_down(batch[IMAGE])  # [B, W, 32, 32]
        middle = self.middle_down(F.max_pool2d(fine, 2))  # [B, 2W, 16, 16]
        x = self.coarse(F.max_pool2d(middle, 2))  # [B, 4W, 8, 8]
        x = self.middle_up(self._joined(x, middle))  # [B, 2W, 16, 16]
        x = self.fine_up(self._joined(x, fine))  # [B, W, 32, 32]
        return {LOGITS: self.head(x)}

    def _joined(self, coarse: Tensor, skipped: Tensor) -> Tensor:
        """Twice the resolution, with what the way down saw there."""
        larger = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return torch.cat([larger, skipped], dim=1) if self.skips else larger


def convolutions(inputs: int, outputs: int, batchnorm: bool) -> nn.Sequential:
    """Two 3×3 convolutions with rectifiers; [B, inputs, H, W] -> [B, outputs, H, W]."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs) if batchnorm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs) if batchnorm else nn.Identity(),
        nn.ReLU(),
    )


# --- training ------------------------------------------------------------------------------------------


class Segment(Task):
    """Which shape does every pixel belong to?

    Batch: image [B, 1, 32, 32] float32, mask [B, 32, 32] int64, id [B] int64. Outputs: logits [B, 4, 32, 32].
    """

    class_names = CLASSES
    kind = "segmentation"
    data_keys = ("images", "numbering")

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        """All pictures in one table; `split_data` takes it apart.

        Raises:
            ValueError: an unknown data.numbering.
        """
        data = config["data"]
        if data["numbering"] not in NUMBERINGS:
            raise ValueError(f"data.numbering is {data['numbering']!r}; valid: {', '.join(NUMBERINGS)}")
        images, masks = draw_images(int(data["images"]))
        if data["numbering"] == "descending":
            masks = len(CLASSES) - 1 - masks
        return {"all": {IMAGE: images, MASK: masks, "id": torch.arange(len(images))}}

    def split_data(self, data: Mapping[str, Any], generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
        """Three quarters for training, with data.mask_shift pixels of error in their masks."""
        table = data["all"]
        order = torch.randperm(len(table[MASK]), generator=generator)
        cut = int(TRAIN_SHARE * len(order))
        train, val = (
            {key: column[rows] for key, column in table.items()} for rows in (order[:cut], order[cut:])
        )
        shift = int(self.config["data"]["mask_shift"])
        train[MASK] = train[MASK].roll((shift, shift), dims=(1, 2))
        return {"train": train, "val": val}

    def expected_loss(self, config: Mapping[str, Any]) -> float:
        """All classes equally likely: log C, and with classes of one size a Dice loss of 1 − 1/C."""
        return math.log(len(CLASSES)) + float(config["loss"]["dice"]) * (1.0 - 1.0 / len(CLASSES))

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a `UNet` as config["model"] describes it."""
        model = config["model"]
        return UNet(int(model["width"]), skips=bool(model["skips"]), batchnorm=bool(model["batchnorm"]))

    def init_weights(self, model: nn.Module, streams: Streams) -> None:
        """By module name: arms share the weights of the layers that they share."""
        streams.reset_by_name(model)

    def augment(self, batch: dict[str, Tensor], draws: SampleDraws) -> dict[str, Tensor]:
        """Mirror image and mask, left-right and top-bottom, if data.augment says so."""
        if not self.config["data"]["augment"]:
            return batch
        mirrored = draws.integers("mirror", 0, 2, columns=2).bool()  # [B, 2]
        image, mask = batch[IMAGE], batch[MASK]
        for axis in (1, 2):
            chosen = mirrored[:, axis - 1, None, None]  # [B, 1, 1]
            image = torch.where(chosen[:, None], image.flip(axis + 1), image)
            mask = torch.where(chosen, mask.flip(axis), mask)
        return {**batch, IMAGE: image, MASK: mask}

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy per pixel, plus loss.dice times the Dice loss. [] float32."""
        logits, mask = outputs[LOGITS], batch[MASK]
        weight = float(self.config["loss"]["dice"])
        entropy = F.cross_entropy(logits, mask)
        return entropy + weight * dice_loss(logits, mask) if weight else entropy

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """miou [B]: see `mean_iou`; accuracy [B]: share of the pixels that are right."""
        predicted = outputs[LOGITS].argmax(dim=1)  # [B, 32, 32]
        right = (predicted == batch[MASK]).float()
        return {"miou": mean_iou(predicted, batch[MASK], len(CLASSES)), "accuracy": right.mean(dim=(1, 2))}


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """1 − soft Dice of the whole batch, averaged over the classes (Milletari et al. 2016). [] float32."""
    chance = logits.softmax(dim=1)  # [B, C, H, W]
    truth = F.one_hot(mask, logits.shape[1]).movedim(-1, 1).to(chance.dtype)
    over = (0, 2, 3)
    both = (chance * truth).sum(dim=over)  # [C]
    return 1.0 - ((2.0 * both + 1.0) / (chance.sum(dim=over) + truth.sum(dim=over) + 1.0)).mean()


def mean_iou(predicted: Tensor, mask: Tensor, classes: int) -> Tensor:
    """[B] float32: intersection over union, averaged over the classes that an image holds or is said to hold.

    Per image, so that the mean over a set does not depend on how it is cut into batches or spread over ranks.
    """
    said, true = (F.one_hot(labels.flatten(1), classes).bool() for labels in (predicted, mask))  # [B, P, C]
    both, either = (said & true).sum(dim=1).float(), (said | true).sum(dim=1).float()  # [B, C]
    return (both / either.clamp_min(1)).sum(dim=1) / (either > 0).sum(dim=1)
