"""Where the curves of a trial go: what `loggers` in a study file may list."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, WithJsonSchema

from orchestrator.study.faults import nearest, show
from orchestrator.study.plugins import Registry

_BUILT_IN = {
    "tensorboard": "orchestrator.record.tensorboard:EventFile",
    "csv": "orchestrator.record.csvfile:CsvFile",
    "wandb": "orchestrator.record.trackers.wandb_run:WandbRun",
    "mlflow": "orchestrator.record.trackers.mlflow_run:MlflowRun",
}


class LoggerClass(Protocol):
    """What a study asks of a logger (`orchestrator.record.loggers`) before it starts."""

    needs: str | None
    """The module that has to be installed for it."""


def _is_logger(found: object) -> bool:
    return isinstance(found, type) and hasattr(found, "needs")


LOGGERS: Registry[Any] = Registry("logger", "orchestrator.loggers", _BUILT_IN, _is_logger)
"""The classes of loggers, by the names that a study lists."""


def lacking(logger: str) -> str | None:
    """What pip has to install for this logger, or None. What it needs is looked for, not imported."""
    kind: LoggerClass = LOGGERS.get(logger)
    if kind.needs is None or importlib.util.find_spec(kind.needs) is not None:
        return None
    return f"'orchestrator[{logger}]'" if logger in _BUILT_IN else kind.needs


def _names(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list such as [tensorboard, wandb]; [] writes the tables only")
    names = list(value)
    for name in names:
        if name not in LOGGERS:
            hint = nearest(name, LOGGERS) if isinstance(name, str) else f"valid: {', '.join(LOGGERS)}"
            raise ValueError(f"has no logger {show(name)}; {hint}")
    if len(set(names)) != len(names):
        raise ValueError("names a logger twice")
    return tuple(names)


_NAME = {"anyOf": [{"enum": list(_BUILT_IN)}, {"type": "string"}]}
Loggers = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    WithJsonSchema({"type": "array", "items": _NAME, "uniqueItems": True}),
]
