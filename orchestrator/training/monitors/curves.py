"""Precision-recall and ROC curves, one class against the rest."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from orchestrator.training.monitors import counts
from orchestrator.training.monitors.reading import Predictions, class_name

_MOST_CLASSES = 10  # drawn one by one; of more classes only all together
_STEP = counts.BINS // 127


class Curves(counts.Summing):
    """PR curves curves/<class> and curves/all (all decisions); curves/roc as a picture with the AUCs."""

    kinds = frozenset({"classification", "multilabel"})

    def count(self, predictions: Predictions) -> dict[str, Tensor]:
        return {"binned": counts.binned(predictions)}

    def validation_end(self, step: int) -> None:
        totals = self.totals()
        if not totals or self.run.world_rank > 0:
            return
        each = totals["binned"]
        names = [class_name(self.run.task.class_names, c) for c in range(len(each))]
        shown = {"all": each.sum(0)}
        if len(each) <= _MOST_CLASSES:
            shown |= dict(zip(names, each, strict=True))
        tp, fp = counts.above(torch.stack(list(shown.values())))
        auc = counts.roc_auc(torch.stack(list(shown.values()))).tolist()
        lines = {}
        for i, name in enumerate(shown):
            positive, negative = float(tp[i, 0]), float(fp[i, 0])
            at = {"tp": tp[i, :-1:_STEP], "fp": fp[i, :-1:_STEP]}
            at |= {"tn": negative - at["fp"], "fn": positive - at["tp"]}
            self.run.sink.pr_curve(f"curves/{name}", {key: value.numpy() for key, value in at.items()}, step)
            if positive and negative:
                kept = [*range(0, counts.BINS, 2 * _STEP), counts.BINS]
                line = ((fp[i, kept] / negative).tolist(), (tp[i, kept] / positive).tolist())
                lines[f"{name}: AUC {auc[i]:.3f}"] = line
        if lines:
            from orchestrator.training.monitors import drawing

            draw = partial(drawing.curves, lines, "false positive rate", "true positive rate")
            self.run.sink.image("curves/roc", draw, step)
