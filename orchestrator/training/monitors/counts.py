"""Counts over a validation pass; the confusion matrix and the curves that follow from them.

Counts are whole numbers: their sum over batches and ranks is exact, in whatever order.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from orchestrator.training.monitors.base import Monitor
from orchestrator.training.monitors.reading import Predictions, class_name
from orchestrator.training.ranks import total_over_ranks

BINS = 1016
"""Bins of a probability in [0, 1]: 8 to each of TensorBoard's 127 thresholds."""
_STEP = BINS // 127
_MOST_CLASSES = 200  # more are too many for a picture of the matrix
_LISTED = 10
_DRAWN_ONE_BY_ONE = 10  # classes; curves of more only all together


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


class Confusion(Summing):
    """confusion/matrix as a picture; the most frequent confusions as text and as rows of the observations."""

    kinds = frozenset({"classification", "segmentation"})

    def count(self, predictions: Predictions) -> dict[str, Tensor]:
        few = predictions.scores.shape[1] <= _MOST_CLASSES
        return {"matrix": confusion(predictions)} if few else {}

    def validation_end(self, step: int) -> None:
        totals = self.totals()
        if not totals or self.run.world_rank > 0:
            return
        matrix = totals["matrix"].numpy()
        from orchestrator.training.monitors import drawing

        names = [class_name(self.run.task.class_names, c) for c in range(len(matrix))]
        self.run.sink.image("confusion/matrix", partial(drawing.matrix, matrix, names), step)
        off = matrix.copy()
        off[range(len(off)), range(len(off))] = 0
        order = off.argsort(axis=None, kind="stable")[::-1][:_LISTED]
        rows = [
            {"target": names[i // len(off)], "prediction": names[i % len(off)], "count": int(off.flat[i])}
            for i in map(int, order)
            if off.flat[i]
        ]
        self.run.sink.observe(self.name, rows, step)
        lines = [f"| {row['target']} | {row['prediction']} | {row['count']} |" for row in rows]
        head = ["| target | taken for | times |", "| --- | --- | --- |"]
        self.run.sink.text("confusion/most", "\n".join([*head, *lines]) if lines else "none", step)


class Curves(Summing):
    """PR curves curves/<class> and curves/all (all decisions); curves/roc as a picture with the AUCs."""

    kinds = frozenset({"classification", "multilabel"})

    def count(self, predictions: Predictions) -> dict[str, Tensor]:
        return {"binned": binned(predictions)}

    def validation_end(self, step: int) -> None:
        totals = self.totals()
        if not totals or self.run.world_rank > 0:
            return
        each = totals["binned"]
        names = [class_name(self.run.task.class_names, c) for c in range(len(each))]
        shown = {"all": each.sum(0)}
        if len(each) <= _DRAWN_ONE_BY_ONE:
            shown |= dict(zip(names, each, strict=True))
        tp, fp = above(torch.stack(list(shown.values())))
        auc = roc_auc(torch.stack(list(shown.values()))).tolist()
        lines = {}
        for i, name in enumerate(shown):
            positive, negative = float(tp[i, 0]), float(fp[i, 0])
            at = {"tp": tp[i, :-1:_STEP], "fp": fp[i, :-1:_STEP]}
            at |= {"tn": negative - at["fp"], "fn": positive - at["tp"]}
            self.run.sink.pr_curve(f"curves/{name}", {key: value.numpy() for key, value in at.items()}, step)
            if positive and negative:
                kept = [*range(0, BINS, 2 * _STEP), BINS]
                line = ((fp[i, kept] / negative).tolist(), (tp[i, kept] / positive).tolist())
                lines[f"{name}: AUC {auc[i]:.3f}"] = line
        if lines:
            from orchestrator.training.monitors import drawing

            draw = partial(drawing.curves, lines, "false positive rate", "true positive rate")
            self.run.sink.image("curves/roc", draw, step)
