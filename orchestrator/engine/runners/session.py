"""What the built-in loop talks to while its trial is recorded: one rank of one process."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from orchestrator.engine.attempts import SnapshotPart, TrialRun
from orchestrator.record.scores import as_scores
from orchestrator.training.sink import Silent, Sink
from orchestrator.training.snapshot import TrainingSnapshot


class TrialSession:
    """One rank's `orchestrator.training.session.Session`, alone on its device."""

    local_rank = 0

    def __init__(self, run: TrialRun, cache: MutableMapping[str, Any], device: torch.device) -> None:
        self._run = run
        self.config = run.config()
        self.unit: str = run.spec.stopping.unit
        self.max_length = float(run.spec.stopping.max)
        self.world_rank, self.world_size = run.rank, run.world_size
        self.device = device
        self.trial_dir = run.storage.path(run.assignment.trial_dir)
        self.cache = cache
        self.monitors: tuple[str, ...] | str = run.spec.monitor
        self.metric: str = run.spec.metric.name
        self.mode: str = run.spec.metric.mode
        self.claimed = run.spec.metric.claimed
        self.loader_workers = 0
        self.sink: Sink = run.log or Silent()

    def prepare_model(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def checkpoint_due(self, length: float) -> bool:
        return self._run.checkpoint_due(length)

    def report(self, metrics: Mapping[str, Any], checkpoint: TrainingSnapshot | None = None) -> None:
        self._run.report(metrics, None if checkpoint is None else SnapshotPart(checkpoint))

    def keep_scores(self, ids: torch.Tensor, scores: torch.Tensor) -> None:
        if self.world_rank == 0:
            self._run.scores.offer(as_scores(ids, scores))

    def ends_early(self, reason: str) -> None:
        self._run.ends_early(reason)

    def resume_dir(self) -> AbstractContextManager[Path | None]:
        return self._run.resume_dir()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.link.trace.stepped()
        self._run.scalars(values, step)

    def barrier(self) -> None:
        """Wait for nobody."""
