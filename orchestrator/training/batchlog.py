"""The loss of every batch, fetched from the device a few steps at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from orchestrator.training.ranks import mean_over_ranks
from orchestrator.training.session import Diverged

FLUSH_EVERY = 10


class BatchLog:
    """Collects training losses; a flush averages them over the ranks, checks and writes them.

    Losses stay on the device until then, so that a GPU is not made to wait at every step. Every rank sees the
    same averages, so all of them find a divergence at the same point.
    """

    def __init__(
        self, write: Callable[[Mapping[str, float], int], None], world_size: int, device: torch.device
    ) -> None:
        self._write = write
        self._world_size = world_size
        self._device = device
        self._waiting: list[tuple[int, Tensor, dict[str, float]]] = []
        self._interval: list[float] = []
        self._fresh = True

    def add(self, step: int, loss: Tensor, beside: dict[str, float]) -> None:
        """Add the loss ([]) of a step, and further values to write with it."""
        self._waiting.append((step, loss.detach(), beside))

    @property
    def pending(self) -> int:
        """Steps that the next flush will write."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Is it time for a flush? The same on all ranks.

        Also after the first step: its event's time is then when the trial really began to train.
        """
        return self._fresh or len(self._waiting) >= FLUSH_EVERY

    def flush(self) -> None:
        """Write what was collected.

        Raises:
            Diverged: a loss is NaN or infinite.
        """
        if not self._waiting:
            return
        self._fresh = False
        local: list[float] = torch.stack([loss for _, loss, _ in self._waiting]).double().tolist()
        losses = mean_over_ranks(local, self._world_size, self._device)
        for loss, (step, _, beside) in zip(losses, self._waiting, strict=True):
            self._write({"train/batch_loss": loss, **beside}, step)
            if not math.isfinite(loss):
                raise Diverged(step, loss)
        self._interval += losses
        self._waiting.clear()

    def take_mean(self) -> float:
        """Mean loss of the steps since the last call; NaN when there was none."""
        self.flush()
        losses, self._interval = self._interval, []
        return math.fsum(losses) / len(losses) if losses else math.nan
