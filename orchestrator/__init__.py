"""Ablation studies on Ray: from a study file to a table of effects that one can believe.

Public names are loaded on first use, so that importing the package costs nothing
(`orchestrate --help` imports neither ray nor torch).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api.local import run_local as run_local
    from orchestrator.api.recorded import OpenedStudy as OpenedStudy
    from orchestrator.api.recorded import open_study as open_study
    from orchestrator.api.study import Study as Study
    from orchestrator.current import config as config
    from orchestrator.current import report as report
    from orchestrator.current import report_scores as report_scores
    from orchestrator.current import trial_dir as trial_dir
    from orchestrator.training.monitors.base import Monitor as Monitor
    from orchestrator.training.streams import SampleDraws as SampleDraws
    from orchestrator.training.streams import Streams as Streams
    from orchestrator.training.task import Task as Task

__version__ = "0.1.0"

_PUBLIC = {
    "Monitor": "orchestrator.training.monitors.base",
    "OpenedStudy": "orchestrator.api.recorded",
    "SampleDraws": "orchestrator.training.streams",
    "Streams": "orchestrator.training.streams",
    "Study": "orchestrator.api.study",
    "Task": "orchestrator.training.task",
    "config": "orchestrator.current",
    "open_study": "orchestrator.api.recorded",
    "report": "orchestrator.current",
    "report_scores": "orchestrator.current",
    "run_local": "orchestrator.api.local",
    "trial_dir": "orchestrator.current",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
