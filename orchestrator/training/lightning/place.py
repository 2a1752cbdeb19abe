"""Where a LightningModule trains: what the Trainer is built with, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.training.sink import Silent, Sink

CHECKPOINT = "lightning.ckpt"
"""Name of Lightning's file in a checkpoint's directory."""


@dataclass
class LightningPlace:
    """One rank's view of the trial. The defaults are those of a check: one process, no reports."""

    config: Mapping[str, Any]
    unit: str
    """Of `max_length`: epoch, step, report or seconds."""
    max_length: float
    report: Callable[[Mapping[str, Any], Callable[[Path], None] | None], None]
    """Takes metrics, and a function that writes a checkpoint into a directory, to be called on all ranks or
    on none. Raises `TrialStopped` where the trial ends."""
    complete: Callable[[], bool] = lambda: False
    """Whether the last report has reached `max_length`."""
    resume: Path | None = None
    """Directory of the checkpoint to go on from."""
    rank: int = 0
    world_size: int = 1
    sink: Sink = field(default_factory=Silent)
    monitors: tuple[str, ...] | str = ()
    options: Mapping[str, Any] = field(default_factory=lambda: {"accelerator": "cpu", "devices": 1})
    """For the Trainer: strategy, plugins, devices."""
    callbacks: Sequence[Any] = ()
    """Further callbacks, for checks."""
