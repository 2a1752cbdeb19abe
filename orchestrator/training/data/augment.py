"""Augmentation of image tensors, a batch at a time, for use in `Task.augment`.

All numbers come from the `SampleDraws` of the batch: what happens to a sample depends on seed, epoch and
sample alone, not on batch, rank or order, and a resumed trial does the same. Images are [B, C, H, W] and keep
shape and type. `name` is the random stream; give two calls of the same function two names.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.streams import SampleDraws


def crop(images: Tensor, draws: SampleDraws, padding: int, name: str = "crop") -> Tensor:
    """Move every image by up to `padding` pixels in both directions, filling with 0."""
    height, width = images.shape[-2:]
    by = draws.integers(name, 0, 2 * padding + 1, columns=2)  # [B, 2]
    rows = by[:, :1] + torch.arange(height)  # [B, H]
    columns = by[:, 1:] + torch.arange(width)  # [B, W]
    padded = F.pad(images, (padding,) * 4)
    samples = torch.arange(len(images))
    return padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def flip(images: Tensor, draws: SampleDraws, name: str = "mirror") -> Tensor:
    """Mirror half of the images, left and right."""
    mirrored = draws.integers(name, 0, 2).bool()  # [B, 1]
    return torch.where(mirrored[:, :, None, None], images.flip(3), images)


def rotate(images: Tensor, draws: SampleDraws, degrees: float, name: str = "rotate") -> Tensor:
    """Turn every image about its centre by up to `degrees` either way; bilinear, filled with 0. Floats."""
    angle = (2.0 * draws.uniform(name).squeeze(1) - 1.0) * math.radians(degrees)  # [B]
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    height, width = images.shape[-2:]
    # grid_sample measures both axes from -1 to 1: an image that is not square needs its ratio
    turn = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], dim=1).reshape(
        -1, 2, 3
    )
    grid = F.affine_grid(turn.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def noise(images: Tensor, draws: SampleDraws, sd: float, name: str = "noise") -> Tensor:
    """Add normal noise of standard deviation `sd`, in the units of the pixels. Floats."""
    drawn = draws.normal(name, images[0].numel()).reshape(images.shape)
    return images + sd * drawn.to(images.dtype)
