"""Pictures for TensorBoard, drawn with Pillow: panels of samples, matrices, curves, heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from orchestrator.training.sink import Pixels

Numbers = NDArray[np.float64]

_TILE = 64  # small pictures are enlarged to about this many pixels
_LARGEST = 224
_LINE = 14
_GAP = 4
_COLUMNS = 8
_BLUE = (31, 119, 180)
COLOURS = (_BLUE, (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
           (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207))  # fmt: skip


def to_pixels(pictures: Tensor) -> Pixels:
    """[N, H, W, 1 | 3] uint8 from [N, 1 | 3, H, W]; floats beyond [0, 1] are stretched into it."""
    pictures = pictures.detach().cpu()
    if pictures.dtype != torch.uint8:
        pictures = torch.nan_to_num(pictures.float())
        low, high = float(pictures.min()), float(pictures.max())
        if low < 0 or high > 1:
            pictures = (pictures - low) / max(high - low, 1e-12)
        pictures = (pictures * 255).round().to(torch.uint8)
    pixels: Pixels = pictures.movedim(1, -1).numpy()
    return pixels


def panel(pictures: Pixels, captions: Sequence[str]) -> Pixels:
    """Pictures [N, H, W, 1 | 3] in rows, each with a caption of one or more lines under it."""
    count, height, width = pictures.shape[:3]
    scale = max(1, _TILE // max(height, width))
    size = [max(1, round(side * min(scale, _LARGEST / max(height, width)))) for side in (width, height)]
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    font = _font()
    widest = max((int(font.getlength(line)) for c in captions for line in c.split("\n")), default=0)
    columns = min(_COLUMNS, count)
    cell = (max(size[0], widest) + 2 * _GAP, size[1] + lines * _LINE + 2 * _GAP)
    mode = "L" if pictures.shape[3] == 1 else "RGB"
    sheet = Image.new(mode, (columns * cell[0], -(-count // columns) * cell[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for i, pixels in enumerate(pictures):
        left, top = (i % columns) * cell[0] + _GAP, (i // columns) * cell[1] + _GAP
        tile = Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels)
        sheet.paste(tile.resize((size[0], size[1]), Image.Resampling.NEAREST), (left, top))
        draw.multiline_text((left, top + size[1] + 1), captions[i], "black", font, spacing=2)
    return _array(sheet)


def matrix(counts: NDArray[np.int64], names: Sequence[str]) -> Pixels:
    """Draw a confusion matrix: rows are targets, shaded by share, with numbers where they fit."""
    classes = len(counts)
    cell = 36 if classes <= 20 else max(4, 720 // classes)
    font, labels = _font(), classes <= 20
    margin = 10 + (max(int(font.getlength(name)) for name in names) if labels else 0)
    top = 24 + _LINE
    sheet = Image.new("RGB", (margin + classes * cell + 20, top + classes * cell + 8), "white")
    draw = ImageDraw.Draw(sheet)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    draw.text((margin, 2), "rows: target, columns: prediction", "black", font)
    for row in range(classes):
        for column in range(classes):
            share = float(shares[row, column])
            base = _BLUE if row == column else (214, 39, 40)
            shade = tuple(round(255 - share**0.5 * (255 - c)) for c in base)
            left, upper = margin + column * cell, top + row * cell
            draw.rectangle((left, upper, left + cell - 1, upper + cell - 1), shade)
            if labels and counts[row, column]:
                ink = "white" if share > 0.5 else "black"
                draw.text(
                    (left + cell / 2, upper + cell / 2), str(counts[row, column]), ink, font, anchor="mm"
                )
        if labels:
            draw.text((margin - 5, top + row * cell + cell / 2), names[row], "black", font, anchor="rm")
            draw.text((margin + row * cell + cell / 2, top - 4), names[row][:5], "black", font, anchor="mb")
    return np.asarray(sheet)


def curves(lines: Mapping[str, tuple[Any, Any]], x_label: str, y_label: str) -> Pixels:
    """Curves over the unit square, by name: (x [K], y [K]) in [0, 1]; the first one is black."""
    font, side, left, top = _font(), 360, 34, 10
    legend = max(int(font.getlength(name)) for name in lines) + 40
    sheet = Image.new("RGB", (left + side + 16 + legend, top + side + 36), "white")
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + side, top + side), outline="black")
    draw.line((left, top + side, left + side, top), fill=(200, 200, 200))
    for i, (name, (x, y)) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)] if i else (0, 0, 0)
        points = [(left + float(a) * side, top + (1 - float(b)) * side) for a, b in zip(x, y, strict=True)]
        draw.line(points, fill=colour)
        height = top + 8 + i * (_LINE + 2)
        draw.line((left + side + 12, height + 6, left + side + 30, height + 6), fill=colour, width=3)
        draw.text((left + side + 36, height), name, "black", font)
    for tick in (0, 0.5, 1):
        draw.text((left + tick * side, top + side + 4), f"{tick:g}", "black", font, anchor="ma")
        draw.text((left - 4, top + (1 - tick) * side), f"{tick:g}", "black", font, anchor="rm")
    draw.text(
        (left + side / 2, top + side + 18), f"{x_label} (across), {y_label} (up)", "black", font, anchor="ma"
    )
    return np.asarray(sheet)


def heat_on(pictures: Pixels, heat: Numbers) -> Pixels:
    """Pictures [N, H, W, 1 | 3] with heat [N, H, W] in [0, 1] laid over them, blue to red. [N, H, W, 3]."""
    grey = np.broadcast_to(pictures.mean(axis=3, keepdims=True), (*pictures.shape[:3], 3))
    ramp = np.stack(
        [np.clip(1.5 - np.abs(4 * heat - shift), 0, 1) for shift in (3, 2, 1)], axis=3
    )  # the usual "jet": red rises last
    return np.asarray(0.6 * grey + 0.4 * 255 * ramp, dtype=np.uint8)


def _array(sheet: Image.Image) -> Pixels:
    pixels = np.asarray(sheet)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@lru_cache(maxsize=1)
def _font() -> Any:
    return ImageFont.load_default(size=11)
