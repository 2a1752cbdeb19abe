"""Classes that are not equally frequent: draw them equally often, or weigh them in the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.training.streams import Streams


def balanced_order(labels: Tensor, streams: Streams, epoch: int) -> Tensor:
    """[N] int64: an epoch of N draws in which every class occurs N / C times (up to one), in random order.

    A class's samples are taken one after the other in random order, and again from the front when there are
    too few; no sample of a class comes a second time before all others of it have come. The k-th repetition
    of sample i (from 0) stands as i + k · N, so that augmentation can tell them apart: `i % N` is the sample.

    A function of seed and epoch alone: the same on every rank, after a resume, and for every arm of a seed.

    Args:
        labels: [N] int64, the class of each sample; classes that do not occur are left out.
    """
    count = len(labels)
    classes = torch.unique(labels)
    random = streams.generator("balance", epoch)
    shares = torch.full((len(classes),), count // len(classes))
    extra = torch.randperm(len(classes), generator=random)[: count % len(classes)]
    shares[extra] += 1
    drawn = []
    for label, share in zip(classes.tolist(), shares.tolist(), strict=True):
        own = torch.nonzero(labels == label).squeeze(1)
        rounds = -(-share // len(own))
        for repetition in range(rounds):
            wanted = min(len(own), share - repetition * len(own))
            chosen = own[torch.randperm(len(own), generator=random)[:wanted]]
            drawn.append(chosen + repetition * count)
    order = torch.cat(drawn)
    return order[torch.randperm(count, generator=random)]


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """[C] float32: N / (C · n_c) for each class, 0 where it does not occur; a `weight` of `F.cross_entropy`.

    Averaged over the samples the weights are 1, where every class occurs.

    Raises:
        ValueError: labels outside 0..classes-1.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels are {int(labels.min())} to {int(labels.max())}; valid: 0 to {classes - 1}")
    counts = torch.bincount(labels, minlength=classes).to(torch.float32)
    weights = len(labels) / (classes * counts)
    return torch.where(counts > 0, weights, torch.zeros_like(weights))
