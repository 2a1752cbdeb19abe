"""Training in one plain process, without Ray: the same loop, the same curves."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from orchestrator.record.scores import Scores, as_scores
from orchestrator.training.loading import end_workers
from orchestrator.training.loop import run_task
from orchestrator.training.session import TrialStopped
from orchestrator.training.sink import Silent, Sink
from orchestrator.training.snapshot import TrainingSnapshot
from orchestrator.training.task import Task


@dataclass
class LocalSession:
    """A `Session` in this process: keeps reports, scalars and the latest checkpoint."""

    config: dict[str, Any]
    max_length: float
    trial_dir: str
    unit: str = "epoch"
    cache: MutableMapping[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world_rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    checkpoints: bool = False
    """Keep a checkpoint of every report."""
    resume_from: Path | None = None
    stop_when: Callable[[Mapping[str, Any]], bool] | None = None
    """Ends the trial at the first report for which it is true."""
    monitors: tuple[str, ...] | str = ()
    metric: str = "val/loss"
    mode: str = "min"
    claimed: str = "val/loss"
    loader_workers: int = 0
    sink: Sink = field(default_factory=Silent)
    scores: Scores | None = None
    """Those of the samples in the last validation."""
    early: str | None = None
    """Why the trial was complete before its length."""
    reports: list[dict[str, Any]] = field(default_factory=list)
    steps: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """What was handed to `scalars`, in order."""

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Return the model on the device; data parallel over the default process group of several ranks."""
        model = model.to(self.device)
        if self.world_size == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices)

    def checkpoint_due(self, length: float) -> bool:
        """All or none of them."""
        del length
        return self.checkpoints

    def report(self, metrics: Mapping[str, Any], checkpoint: TrainingSnapshot | None = None) -> None:
        """Keep the metrics; write the checkpoint's files to `<trial_dir>/checkpoints/step-<step>`.

        Raises:
            TrialStopped: `stop_when` says so.
        """
        self.reports.append(dict(metrics))
        if checkpoint is not None:
            target = self.checkpoint_path(int(metrics["step"]))
            target.mkdir(parents=True, exist_ok=True)
            checkpoint.write(target)
        if self.stop_when is not None and self.stop_when(metrics):
            raise TrialStopped

    def keep_scores(self, ids: torch.Tensor, scores: torch.Tensor) -> None:
        """Keep them."""
        self.scores = as_scores(ids, scores)

    def ends_early(self, reason: str) -> None:
        """Keep the reason."""
        self.early = reason

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of a step lies."""
        return Path(self.trial_dir) / "checkpoints" / f"step-{step:08d}"

    @contextmanager
    def resume_dir(self) -> Iterator[Path | None]:
        """Give the checkpoint handed in, as it lies."""
        yield self.resume_from

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Keep the values of a step (rank 0)."""
        if self.world_rank == 0:
            self.steps.append((step, dict(values)))

    def barrier(self) -> None:
        """Wait for the other ranks, if any."""
        if self.world_size > 1:
            torch.distributed.barrier()


def run_local(
    task_class: type[Task],
    config: Mapping[str, Any],
    *,
    max_length: float | None = None,
    unit: str = "epoch",
    cache: MutableMapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Train one cell here and now; returns its reports.

    `config` is the resolved config with `seed`; `max_length` defaults to `config["max_length"]`.
    A `cache` that is handed in again keeps the data between trials. Nothing is left on disk.

    Raises:
        TypeError: `task_class` is not a Task (a Ray Train function needs Ray Train around it).
        Diverged: the training loss is NaN or infinite.
    """
    if not (inspect.isclass(task_class) and issubclass(task_class, Task)):
        raise TypeError(f"run_local trains Task classes, not {task_class!r}; a Ray Train function needs Ray")
    length = float(config["max_length"]) if max_length is None else max_length
    with tempfile.TemporaryDirectory(prefix="trial-") as trial_dir:
        session = LocalSession(
            config={"max_length": length, **config},
            max_length=length,
            trial_dir=trial_dir,
            unit=unit,
            cache={} if cache is None else cache,
        )
        try:
            run_task(task_class, session)
        finally:
            if cache is None:
                end_workers(session.cache)
    return session.reports
