"""Names of loggers and monitors, as a study file may list them.

The monitors and loggers themselves are in higher rooms; here are only their names, so that a study can be
checked without torch.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from orchestrator.study.faults import nearest, show
from orchestrator.study.plugins import Registry

_BUILT_IN = {
    "tensorboard": "orchestrator.record.tensorboard:EventFile",
    "csv": "orchestrator.record.csvfile:CsvFile",
    "wandb": "orchestrator.record.trackers.wandb_run:WandbRun",
    "mlflow": "orchestrator.record.trackers.mlflow_run:MlflowRun",
}


def _is_logger(found: object) -> bool:
    return isinstance(found, type) and hasattr(found, "needs")


LOGGERS: Registry[Any] = Registry("logger", "orchestrator.loggers", _BUILT_IN, _is_logger)
"""The classes of loggers, by the names that a study lists. `needs`: the module that has to be installed."""


def lacking(logger: str) -> str | None:
    """Return what pip has to install for this logger, or None. What it needs is looked for, not imported."""
    needs: str | None = LOGGERS.get(logger).needs
    if needs is None or importlib.util.find_spec(needs) is not None:
        return None
    return f"'orchestrator[{logger}]'" if logger in _BUILT_IN else needs


def _twice(names: Sequence[Any], noun: str) -> tuple[Any, ...]:
    if len(set(names)) != len(names):
        raise ValueError(f"names a {noun} twice")
    return tuple(names)


def _names(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list such as [tensorboard, wandb]; [] writes the tables only")
    for name in value:
        if name not in LOGGERS:
            hint = nearest(name, LOGGERS) if isinstance(name, str) else f"valid: {', '.join(LOGGERS)}"
            raise ValueError(f"has no logger {show(name)}; {hint}")
    return _twice(value, "logger")


def _list_of(*names: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"anyOf": list(names)}, "uniqueItems": True}


Loggers = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    WithJsonSchema(_list_of({"enum": list(_BUILT_IN)}, {"type": "string"})),
]


BUILT_IN = {
    "throughput": "time on data against time in the model, samples per second, GPU memory",
    "gradients": "min, mean and max of the gradients per parameter",
    "gradient_histograms": "the gradients of every parameter as histograms",
    "metrics": "F1, AUC, top-k, mIoU, errors or perplexity, as the kind of task asks",
    "confusion": "the confusion matrix, and the classes most often taken for each other",
    "curves": "precision-recall and ROC curves per class",
    "predictions": "how the predictions are distributed",
    "best_worst": "the validation samples with the lowest and the highest loss, drawn, with their ids",
    "gradcam": "Grad-CAM heat maps of convolutional networks",
    "visualize": "what the task's own `visualize` draws",
}
"""Monitors by name, each with what it shows."""
_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


def _auto_or_names(value: Any) -> Any:
    if value == "auto":
        return value
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be auto or a list such as [gradients, best_worst]; [] switches all off")
    for name in value:
        if not isinstance(name, str) or not (name in BUILT_IN or _OWN.match(name)):
            hint = nearest(name, BUILT_IN) if isinstance(name, str) else "a name or module:Class"
            raise ValueError(f"has no monitor {show(name)}; {hint}; one of your own is named module:Class")
    return _twice(value, "monitor")


_OWN_NAME = {"type": "string", "pattern": _OWN.pattern.replace("\\Z", "$")}
Monitors = Annotated[
    tuple[str, ...] | Literal["auto"],
    BeforeValidator(_auto_or_names),
    WithJsonSchema({"anyOf": [{"enum": ["auto"]}, _list_of({"enum": list(BUILT_IN)}, _OWN_NAME)]}),
]
