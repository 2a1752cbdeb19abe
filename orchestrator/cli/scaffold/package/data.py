"""Step 1, the data: named tensors. Look at them before anything is trained.

Replace `build` with your own reading; keep the form {"train": table, "val": table}, where a table is a dict of
tensors that share their first dimension, or a map-style dataset whose samples are dicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

POINT = "point"  # [N, 2] float32
LABEL = "label"  # [N] int64, 0..CLASSES-1

CLASSES = 3
VAL_SHARE = 0.2


def build(config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Points on noisy spirals, one arm of the spiral per class; the same for every trial."""
    samples, noise = int(config["samples"]), float(config["noise"])
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(CLASSES, (samples,), generator=generator)  # [N]
    radius = torch.rand(samples, generator=generator)  # [N]
    angle = 4.0 * radius + 2.0 * math.pi * label / CLASSES  # [N]
    angle = angle + noise * torch.randn(samples, generator=generator)
    point = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)  # [N, 2]
    held_out = int(VAL_SHARE * samples)
    return {
        "train": {POINT: point[held_out:], LABEL: label[held_out:]},
        "val": {POINT: point[:held_out], LABEL: label[:held_out]},
    }
