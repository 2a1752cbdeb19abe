"""Samples as one picture."""

from __future__ import annotations

import base64
import io

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.task import ID, Batch

CELL = 64
"""Pixels that a sample is enlarged to, at least."""
GAP = 2
COLUMNS = 8


def image_column(batch: Batch) -> str | None:
    """Return the first tensor that looks like images: [B, 1 or 3, H, W] or [B, H, W], sides from 4."""
    for name, tensor in batch.items():
        shape = tensor.shape
        fits = (tensor.dim() == 4 and shape[1] in (1, 3)) or tensor.dim() == 3
        drawable = tensor.is_floating_point() or tensor.dtype == torch.uint8
        if name != ID and fits and drawable and min(shape[-2:]) >= 4:
            return name
    return None


def panel(rows: list[Tensor]) -> Tensor:
    """[H, W, 3] uint8: each tensor ([up to COLUMNS, 1 or 3, h, w] or [.., h, w]) a row, on one grey scale."""
    pictures = [(row if row.dim() == 4 else row[:, None]).float()[:COLUMNS] for row in rows]
    low = min(float(row.min()) for row in pictures)
    high = max(float(row.max()) for row in pictures)
    lines = []
    for row in pictures:
        scaled = ((row - low) / max(high - low, 1e-12)).expand(-1, 3, -1, -1)
        factor = max(1, -(-CELL // max(scaled.shape[-2:])))
        large = scaled.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
        framed = F.pad(large, (GAP, GAP, GAP, GAP), value=1.0)
        missing = COLUMNS - len(framed)
        framed = F.pad(framed, (0, 0, 0, 0, 0, 0, 0, missing), value=1.0)
        lines.append(torch.cat(list(framed), dim=2))  # [3, h, COLUMNS * w]
    return (torch.cat(lines, dim=1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def base64_png(pixels: Tensor) -> str:
    """[H, W, 3] uint8 as a PNG file, for a data URI."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(sink, "PNG")
    return base64.b64encode(sink.getvalue()).decode()
