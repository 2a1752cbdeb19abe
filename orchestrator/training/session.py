"""What a training loop may ask of the place that it runs in, and the two ways in which a trial ends early.

The built-in loop knows nothing else of its surroundings: the engine implements `Session` on a Ray Train
worker, `orchestrator.training.local` in one plain process, and both give the same curves.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.training.sink import Sink

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from orchestrator.training.snapshot import TrainingSnapshot


class TrialStopped(BaseException):
    """Raised out of `Session.report` when the trial has to end at this report.

    A BaseException, so that a user's `except Exception` does not swallow it.
    """


class Diverged(Exception):
    """The training loss is NaN or infinite; every rank raises it at the same point.

    `origin` says where that came from, once the step has been looked at (see `training.divergence`).
    """

    def __init__(self, step: int, loss: float, origin: str | None = None) -> None:
        self.step = step
        self.loss = loss
        self.origin = origin
        super().__init__(f"the training loss is {loss} at step {step}" + (f", {origin}" if origin else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.loss, self.origin)


class Session(Protocol):
    """One rank's view of the trial that it runs."""

    config: dict[str, Any]
    """Resolved config of the cell, with `seed` and `max_length`."""
    unit: str
    """Unit of `max_length`: epoch, step, report or seconds (of training)."""
    max_length: float
    world_rank: int
    world_size: int
    local_rank: int
    device: torch.device
    trial_dir: str
    cache: MutableMapping[str, Any]
    """Lives as long as the process: data that the next trial may use again."""
    monitors: tuple[str, ...] | str
    """Names of the monitors, as `monitor` in the study file; "auto": those that fit the task."""
    metric: str
    """What the study compares: key of the reports."""
    mode: str
    """min or max: which values of it are better."""
    claimed: str
    """What the study makes claims about: `metric`, or the one that only claims."""
    loader_workers: int
    """Processes that `data.num_workers: auto` stands for here."""
    sink: Sink
    """Where monitors write; drops everything on the ranks above 0."""

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Return the model on `device`, wrapped for data parallelism when there is more than one rank."""

    def checkpoint_due(self, length: float) -> bool:
        """Would a checkpoint handed to the report at this length (in `unit`) be kept? Same on all ranks."""

    def report(self, metrics: Mapping[str, Any], checkpoint: TrainingSnapshot | None = None) -> None:
        """Hand over one report; every rank calls it, with its own part of the checkpoint.

        The snapshot is written when and where the session likes.

        Raises:
            TrialStopped: the trial ends here, on all ranks alike.
        """

    def keep_scores(self, ids: Tensor, scores: Tensor) -> None:
        """Take the scores of the samples, [N] each, whose mean the next report has as the claimed metric.

        Raises:
            ValueError: ids that are there twice, scores that are not finite.
        """

    def ends_early(self, reason: str) -> None:
        """Say that the trial is complete although it is shorter than `max_length`, and why."""

    def resume_dir(self) -> AbstractContextManager[Path | None]:
        """All ranks' parts of the checkpoint to go on from, or None for a fresh start."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Values of one training step for the curves; rank 0 writes them, the others do nothing."""

    def barrier(self) -> None:
        """Wait for all ranks."""
