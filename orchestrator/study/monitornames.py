"""Names of what watches a trial from beside: what `monitor` in a study file may list.

The monitors themselves are in `orchestrator.training.monitors`; here are only their names, so that a study
can be checked without torch.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from orchestrator.study.faults import nearest, show

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
    names = list(value)
    for name in names:
        if not isinstance(name, str) or not (name in BUILT_IN or _OWN.match(name)):
            hint = nearest(name, BUILT_IN) if isinstance(name, str) else "a name or module:Class"
            raise ValueError(f"has no monitor {show(name)}; {hint}; one of your own is named module:Class")
    if len(set(names)) != len(names):
        raise ValueError("names a monitor twice")
    return tuple(names)


Monitors = Annotated[
    tuple[str, ...] | Literal["auto"],
    BeforeValidator(_auto_or_names),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["auto"]},
                {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            {"enum": list(BUILT_IN)},
                            {"type": "string", "pattern": _OWN.pattern.replace("\\Z", "$")},
                        ]
                    },
                    "uniqueItems": True,
                },
            ]
        }
    ),
]
