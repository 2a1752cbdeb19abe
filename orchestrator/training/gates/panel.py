"""Samples as one picture: a PNG without a library for it: zlib and three checksummed chunks."""

from __future__ import annotations

import base64
import struct
import zlib

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


def png(pixels: Tensor) -> bytes:
    """[H, W, 3] uint8 as a PNG file."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + bytes(line.flatten().tolist()) for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def base64_png(pixels: Tensor) -> str:
    """Return the same, for a data URI."""
    return base64.b64encode(png(pixels)).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
