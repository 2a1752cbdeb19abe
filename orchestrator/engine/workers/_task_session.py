"""`Session` for the built-in loop, on a Ray Train worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import ray.train.collective
import ray.train.torch
import torch
from torch import nn

from orchestrator.engine.attempts import SnapshotPart, TrialRun
from orchestrator.engine.messages import Assignment
from orchestrator.training.sink import Silent, Sink
from orchestrator.training.snapshot import TrainingSnapshot


class TaskSession:
    """One rank's session; see `orchestrator.training.session.Session`."""

    def __init__(self, run: TrialRun, assignment: Assignment, cache: MutableMapping[str, Any]) -> None:
        context = ray.train.get_context()
        self._run = run
        self.config: dict[str, Any] = dict(assignment.config)
        self.unit: str = run.spec.stopping.unit
        self.max_length = float(run.spec.stopping.max)
        self.world_rank, self.world_size = run.rank, run.world_size
        self.local_rank = context.get_local_rank()
        self.device: torch.device = ray.train.torch.get_device()
        self.trial_dir = run.storage.path(assignment.trial_dir)
        self.cache = cache
        self.monitors: tuple[str, ...] | str = run.spec.monitor
        self.sink: Sink = run.log or Silent()

    def prepare_model(self, model: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return model.to(self.device)
        prepared: nn.Module = ray.train.torch.prepare_model(model)
        return prepared

    def checkpoint_due(self, length: float) -> bool:
        return self._run.checkpoint_due(length)

    def report(self, metrics: Mapping[str, Any], checkpoint: TrainingSnapshot | None = None) -> None:
        self._run.report(metrics, None if checkpoint is None else SnapshotPart(checkpoint))

    @contextmanager
    def resume_dir(self) -> Iterator[Path | None]:
        with self._run.resume_dir() as folder:
            yield folder

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.scalars(values, step)

    def barrier(self) -> None:
        if self.world_size > 1:
            ray.train.collective.barrier()
