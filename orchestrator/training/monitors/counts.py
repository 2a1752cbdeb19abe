"""Counts over a validation pass from which metrics, matrices and curves follow.

Counts are whole numbers: their sum over batches and ranks is exact, in whatever order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.training.monitors.base import Monitor
from orchestrator.training.monitors.reading import Predictions
from orchestrator.training.ranks import total_over_ranks

BINS = 1016
"""Bins of a probability in [0, 1]: 8 to each of TensorBoard's 127 thresholds."""


class Summing(Monitor):
    """A monitor of sums over all predictions of a pass."""

    def count(self, predictions: Predictions) -> dict[str, Tensor]:
        """Return what is added up over batches and ranks, by name."""
        raise NotImplementedError

    def validation_start(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def predictions(self, predictions: Predictions) -> None:
        for name, value in self.count(predictions).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def totals(self) -> dict[str, Tensor]:
        """Return the sums of all ranks, on the CPU; empty where nothing was predicted."""
        return {name: total_over_ranks(sum_, self.run.world_size).cpu() for name, sum_ in self._sums.items()}


def confusion(predictions: Predictions) -> Tensor:
    """[C, C] int64: rows are targets, columns are the classes chosen."""
    classes = predictions.scores.shape[1]
    pairs = predictions.target * classes + predictions.chosen
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def binary_confusion(predictions: Predictions) -> Tensor:
    """[L, 4] int64 for multilabel: true positives, false positives, true negatives, false negatives."""
    chosen, target = predictions.chosen.bool(), predictions.target.bool()
    parts = (chosen & target, chosen & ~target, ~chosen & ~target, ~chosen & target)
    return torch.stack([part.sum(0) for part in parts], dim=1)


def binned(predictions: Predictions) -> Tensor:
    """[C, 2, BINS] int64: how often a class got a probability in each bin; [:, 1]: it was the target."""
    probabilities = predictions.probabilities
    classes = probabilities.shape[1]
    place = (probabilities * BINS).long().clamp_(0, BINS - 1)
    if predictions.kind == "multilabel":
        right = predictions.target
    else:
        right = torch.nn.functional.one_hot(predictions.target, classes)
    cell = (torch.arange(classes, device=place.device) * 2 + right) * BINS + place
    return torch.bincount(cell.flatten(), minlength=classes * 2 * BINS).reshape(classes, 2, BINS)


def above(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return true and false positives [C, BINS + 1] float64 when all from a bin on are taken; last: 0."""
    taken = counts.double().flip(-1).cumsum(-1).flip(-1)  # [C, 2, BINS]
    taken = torch.nn.functional.pad(taken, (0, 1))
    return taken[:, 1], taken[:, 0]


def roc_auc(counts: Tensor) -> Tensor:
    """[C] float64: area under the ROC curve by the trapezoidal rule; NaN for a class without both kinds."""
    tp, fp = above(counts)
    area = torch.trapezoid(tp.flip(-1), fp.flip(-1), dim=-1)
    return area / (tp[:, 0] * fp[:, 0])
