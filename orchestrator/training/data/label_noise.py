"""Wrong labels planted on purpose, to see whether they are found and what they cost."""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.training.streams import Streams


def wrong_labels(labels: Tensor, share: float, classes: int, streams: Streams) -> tuple[Tensor, Tensor]:
    """Labels of which `share` are wrong, and which ones.

    How many is exact (rounded); which ones and what they become follow from the seed alone, and a larger
    share keeps the wrong labels of a smaller one. For use in `Task.split_data`, on training or validation
    labels.

    Args:
        labels: [N] int64 in 0..classes-1; not changed.
        share: in [0, 1].

    Returns:
        labels [N] int64; wrong [N] bool. Every wrong label differs from the true one, uniformly over the
        others.

    Raises:
        ValueError: share, classes or labels out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of wrong labels is {share}; valid: 0 to 1")
    if classes < 2:
        raise ValueError(f"labels of {classes} class cannot be wrong; valid: 2 classes or more")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels are {int(labels.min())} to {int(labels.max())}; valid: 0 to {classes - 1}")
    count = len(labels)
    order = torch.randperm(count, generator=streams.generator("wrong-labels", "which"))
    by = torch.randint(1, classes, (count,), generator=streams.generator("wrong-labels", "what"))
    wrong = torch.zeros(count, dtype=torch.bool)
    wrong[order[: round(share * count)]] = True
    return torch.where(wrong, (labels + by) % classes, labels), wrong
