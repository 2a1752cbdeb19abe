"""The usual metrics of the kind of task, over the validation set.

Computed from sums over all samples of all ranks: whole numbers, or float64. They are those of torchmetrics
(a test compares), without its import (a second and a half in every worker). Any other metric of torchmetrics
can be reported by `Task.metrics`; only what is reported can be the metric of a study.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator.training.monitors import counts
from orchestrator.training.monitors.reading import READ, Predictions, class_name

_TOP = 5
_PER_CLASS = 20  # a value per class is written up to this many classes


class Metrics(counts.Summing):
    """metrics/<name> after every validation pass that the monitors look at.

    classification   accuracy, f1_macro, auc_macro, top5 (with more than 5 classes), f1 per class
    segmentation     accuracy (of pixels), miou, f1_macro, iou per class
    language         cross_entropy (nats), perplexity, bits_per_token, accuracy, top5
    multilabel       accuracy (of single labels), f1_macro, f1_micro, auc_macro
    regression       mae, rmse, r2
    """

    kinds = READ

    def count(self, predictions: Predictions) -> dict[str, Tensor]:
        p = predictions
        if p.kind == "regression":
            error, target = (p.scores - p.target).double(), p.target.double()
            one = torch.tensor(float(len(target)), dtype=torch.float64, device=error.device)
            parts = (error.abs().sum(0), error.square().sum(0), target.sum(0), target.square().sum(0))
            return {"count": one, "moments": torch.stack(parts)}
        if p.kind == "multilabel":
            return {"binary": counts.binary_confusion(p), "binned": counts.binned(p)}
        if p.kind == "segmentation":
            return {"confusion": counts.confusion(p)}
        if p.kind == "classification":
            return {"confusion": counts.confusion(p), "binned": counts.binned(p), "top": _in_top(p)}
        losses = F.cross_entropy(p.scores.float(), p.target, reduction="none").double().sum()
        right, rows = (p.chosen == p.target).sum(), torch.tensor(len(p.target), device=p.target.device)
        return {"loss": losses, "right": right, "top": _in_top(p), "rows": rows}

    def validation_end(self, step: int) -> None:
        totals = self.totals()
        if not totals:
            raise ValueError("no sample of the validation set has a target")
        values = _metrics(str(self.run.task.kind), totals, self.run.task.class_names)
        self.run.sink.scalars({f"metrics/{name}": value for name, value in values.items()}, step)


def _in_top(p: Predictions) -> Tensor:
    """[] int64: rows whose target is among the five highest scores; below 0 with no more classes."""
    if p.scores.shape[1] <= _TOP:
        return torch.tensor(-len(p.target), device=p.target.device)
    return (p.scores.topk(_TOP, dim=1).indices == p.target[:, None]).any(1).sum()


def _metrics(kind: str, totals: dict[str, Tensor], names: Sequence[str]) -> dict[str, float]:
    if kind == "regression":
        return _of_regression(float(totals["count"]), totals["moments"])
    if kind == "multilabel":
        return _of_labels(totals)
    if kind == "language":
        rows = int(totals["rows"])
        nats = float(totals["loss"]) / rows
        values = {
            "cross_entropy": nats,
            "perplexity": math.exp(min(nats, 700.0)),
            "bits_per_token": nats / math.log(2),
            "accuracy": int(totals["right"]) / rows,
        }
        return values | _top(totals, rows)
    return _of_classes(kind, totals, names)


def _of_classes(kind: str, totals: dict[str, Tensor], names: Sequence[str]) -> dict[str, float]:
    matrix = totals["confusion"].double()
    rows = int(totals["confusion"].sum())
    right, wanted, chosen = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    there = (wanted + chosen) > 0
    f1 = 2 * right / (wanted + chosen)
    values = {"accuracy": float(right.sum()) / rows, "f1_macro": float(f1[there].mean())}
    each, name = f1, "f1"
    if kind == "segmentation":
        each, name = right / (wanted + chosen - right), "iou"
        values["miou"] = float(each[there].mean())
    else:
        values |= {"auc_macro": float(counts.roc_auc(totals["binned"]).nanmean())} | _top(totals, rows)
    if len(each) <= _PER_CLASS:
        listed = zip(each.tolist(), there.tolist(), strict=True)
        known = {c: value for c, (value, is_there) in enumerate(listed) if is_there}
        values |= {f"{name}/{class_name(names, c)}": value for c, value in known.items()}
    return values


def _of_labels(totals: dict[str, Tensor]) -> dict[str, float]:
    tp, fp, tn, fn = totals["binary"].double().T
    there = (tp + fp + fn) > 0
    f1 = 2 * tp / (2 * tp + fp + fn)
    micro = 2 * tp.sum() / (2 * tp.sum() + fp.sum() + fn.sum()).clamp_min(1)
    return {
        "accuracy": float((tp + tn).sum() / (tp + fp + tn + fn).sum()),
        "f1_macro": float(f1[there].nanmean()),
        "f1_micro": float(micro),
        "auc_macro": float(counts.roc_auc(totals["binned"]).nanmean()),
    }


def _of_regression(count: float, moments: Tensor) -> dict[str, float]:
    absolute, squared, total, total_of_squares = moments
    spread = total_of_squares - total.square() / count
    return {
        "mae": float(absolute.mean()) / count,
        "rmse": math.sqrt(float(squared.mean()) / count),
        "r2": float((1 - squared / spread).mean()),
    }


def _top(totals: dict[str, Tensor], rows: int) -> dict[str, float]:
    return {f"top{_TOP}": int(totals["top"]) / rows} if int(totals["top"]) >= 0 else {}
