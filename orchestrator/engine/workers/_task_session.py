"""What the built-in loop talks to on a Ray Train worker."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import ray.train
import ray.train.collective
import ray.train.torch
from torch import nn

from orchestrator.engine.attempts import TrialRun
from orchestrator.engine.runners.session import TrialSession


class TaskSession(TrialSession):
    """One rank's session, beside the others of its group."""

    def __init__(self, run: TrialRun, cache: MutableMapping[str, Any]) -> None:
        super().__init__(run, cache, ray.train.torch.get_device())
        self.local_rank = ray.train.get_context().get_local_rank()

    def prepare_model(self, model: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return super().prepare_model(model)
        prepared: nn.Module = ray.train.torch.prepare_model(model)
        return prepared

    def barrier(self) -> None:
        if self.world_size > 1:
            ray.train.collective.barrier()
