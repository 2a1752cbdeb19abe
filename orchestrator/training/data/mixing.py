"""Pairs of samples mixed into one: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), with their loss.

For use in `Task.augment`, on batches of images [B, C, H, W] with labels [B] int64. Each image is mixed with
its neighbour in the batch, which is another one in every epoch. The batch gets two columns more:
`other_label` [B], and `share` [B] float32, the part that is the image's own. Validation batches have neither.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.streams import SampleDraws

OTHER_LABEL = "other_label"
SHARE = "share"


def mixup(
    batch: Mapping[str, Tensor], draws: SampleDraws, alpha: float, image: str = "image", label: str = "label"
) -> dict[str, Tensor]:
    """Blend each image with its neighbour, in shares drawn from Beta(alpha, alpha).

    Raises:
        ValueError: alpha is not in (0, 1].
    """
    share = beta(draws, alpha)  # [B]
    weight = share[:, None, None, None]
    images = batch[image]
    mixed = weight * images + (1.0 - weight) * images.roll(1, dims=0)
    return {**batch, image: mixed, OTHER_LABEL: batch[label].roll(1, dims=0), SHARE: share}


def cutmix(
    batch: Mapping[str, Tensor], draws: SampleDraws, alpha: float, image: str = "image", label: str = "label"
) -> dict[str, Tensor]:
    """Put a rectangle of its neighbour into each image; its area has a share drawn from Beta(alpha, alpha).

    `share` is what is left of the image's own pixels, after the rectangle was cut off at the border.

    Raises:
        ValueError: alpha is not in (0, 1].
    """
    images = batch[image]
    height, width = images.shape[-2:]
    side = (1.0 - beta(draws, alpha, "cutmix")).sqrt()  # [B], of the rectangle, as a share of the image's
    centre = draws.uniform("cutmix-centre", 2)  # [B, 2]
    inside_rows = _inside(centre[:, 0], side, height)  # [B, H]
    inside_columns = _inside(centre[:, 1], side, width)  # [B, W]
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]  # [B, H, W]
    mixed = torch.where(inside[:, None], images.roll(1, dims=0), images)
    share = 1.0 - inside.float().mean(dim=(1, 2))
    return {**batch, image: mixed, OTHER_LABEL: batch[label].roll(1, dims=0), SHARE: share}


def mixed_cross_entropy(
    logits: Tensor, batch: Mapping[str, Tensor], label: str = "label", weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy, of both labels in their shares where samples are mixed. [B, C] -> [] float32.

    `weight` [C]: class weights, as `balance.class_weights` makes them; averaged over the samples as they are.
    """
    if SHARE not in batch:
        return F.cross_entropy(logits, batch[label], weight=weight)
    own = F.cross_entropy(logits, batch[label], weight=weight, reduction="none")
    other = F.cross_entropy(logits, batch[OTHER_LABEL], weight=weight, reduction="none")
    return (batch[SHARE] * own + (1.0 - batch[SHARE]) * other).mean()


def beta(draws: SampleDraws, alpha: float, name: str = "mixup", tries: int = 8) -> Tensor:
    """[B] float32 from Beta(alpha, alpha), by Jöhnk's rejection method: the first of `tries` that fits.

    Raises:
        ValueError: alpha is above 1, where too few tries fit, or not above 0.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"the alpha of {name} is {alpha}; valid: above 0, to 1")
    if alpha == 1:
        return draws.uniform(name).squeeze(1)
    powers = draws.uniform(name, 2 * tries).pow(1.0 / alpha)
    one, two = powers[:, :tries], powers[:, tries:]
    total = one + two
    fits = (total > 0) & (total <= 1)
    first = fits.float().argmax(dim=1, keepdim=True)
    share = (one / total.clamp_min(1e-38)).gather(1, first).squeeze(1)
    return torch.where(fits.any(dim=1), share, torch.full_like(share, 0.5))


def _inside(centre: Tensor, side: Tensor, size: int) -> Tensor:
    """[B, size] bool: pixels within half a side of the centre; both are shares of the size, [B]."""
    place = (torch.arange(size) + 0.5) / size  # [size]
    return (place - centre[:, None]).abs() < side[:, None] / 2
