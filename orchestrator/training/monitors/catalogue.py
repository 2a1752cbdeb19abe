"""From the names in a study file to monitors that fit the task."""

from __future__ import annotations

import inspect
from importlib import import_module

from orchestrator.study.faults import nearest
from orchestrator.training.monitors.base import Monitor
from orchestrator.training.task import Task

_PACKAGE = "orchestrator.training.monitors"
CLASSES = {
    "throughput": f"{_PACKAGE}.throughput:Throughput",
    "gradients": f"{_PACKAGE}.gradients:Gradients",
    "gradient_histograms": f"{_PACKAGE}.gradients:GradientHistograms",
    "metrics": f"{_PACKAGE}.metrics:Metrics",
    "confusion": f"{_PACKAGE}.counts:Confusion",
    "curves": f"{_PACKAGE}.counts:Curves",
    "predictions": f"{_PACKAGE}.distribution:Distribution",
    "best_worst": f"{_PACKAGE}.pictures:BestWorst",
    "gradcam": f"{_PACKAGE}.pictures:GradCam",
    "visualize": f"{_PACKAGE}.pictures:Visualize",
}
"""The built-in monitors; `orchestrator.study.names` says what they show."""
ON_REQUEST = frozenset({"gradient_histograms"})
"""Not part of `auto`."""


def choose(names: tuple[str, ...] | str, task: Task) -> list[Monitor]:
    """Return the monitors of a trial: those named, or with `auto` the built-in ones that fit the task's kind.

    Raises:
        ValueError: no such monitor, or one that is named here cannot watch this kind of task.
    """
    if isinstance(names, str):
        every = [make(name) for name in CLASSES if name not in ON_REQUEST]
        return [monitor for monitor in every if _fits(monitor, task)]
    chosen = [make(name) for name in names]
    for monitor in chosen:
        if not _fits(monitor, task):
            valid = " or ".join(sorted(monitor.kinds or ()))
            raise ValueError(
                f"monitor {monitor.name} watches tasks whose kind is {valid}, but "
                f"{type(task).__name__}.kind is {task.kind!r}; set `kind`, or take the monitor out"
            )
    return chosen


def make(name: str) -> Monitor:
    """Return a monitor by its built-in name, or as module:Class.

    Raises:
        ValueError: there is no such monitor.
        TypeError: the class is not a Monitor.
    """
    path = CLASSES.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise ValueError(f"there is no monitor {name!r}; {nearest(name, CLASSES)}")
    kind = getattr(import_module(module), attribute, None)
    if not (inspect.isclass(kind) and issubclass(kind, Monitor)):
        raise TypeError(f"monitor {name} is not a subclass of orchestrator.Monitor but {kind!r}")
    monitor: Monitor = kind()
    monitor.name = name
    return monitor


def _fits(monitor: Monitor, task: Task) -> bool:
    return monitor.kinds is None or task.kind in monitor.kinds
