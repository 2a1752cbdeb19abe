"""Where the curves of a trial go: what `loggers` in a study file may list, and which extra each needs."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from orchestrator.study.faults import nearest, show

LOGGERS: dict[str, str | None] = {"tensorboard": None, "wandb": "wandb", "mlflow": "mlflow"}
"""Loggers by name, each with the module that its extra of the same name installs."""


def missing_extra(logger: str) -> str | None:
    """The extra that this logger needs and this Python does not have, or None. Imports nothing."""
    module = LOGGERS[logger]
    return None if module is None or importlib.util.find_spec(module) is not None else logger


def _names(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list such as [tensorboard, wandb]; [] writes the tables only")
    names = list(value)
    for name in names:
        if not isinstance(name, str) or name not in LOGGERS:
            hint = nearest(name, LOGGERS) if isinstance(name, str) else f"valid: {', '.join(LOGGERS)}"
            raise ValueError(f"has no logger {show(name)}; {hint}")
    if len(set(names)) != len(names):
        raise ValueError("names a logger twice")
    return tuple(names)


Loggers = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    WithJsonSchema({"type": "array", "items": {"enum": list(LOGGERS)}, "uniqueItems": True}),
]
