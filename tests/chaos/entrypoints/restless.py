"""The digits example, which leaves a trace of every epoch that it finishes, whatever becomes of its record.

A line in the file `trace` of the directory CHAOS_DIR: arm's mark, seed, number of the epoch (from 1),
process, and when it was finished. CHAOS_PACE_S seconds are added to every epoch, so that faults find trials
under way.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trials.digits import Digits


class Restless(Digits):
    """Validation follows upon an epoch's training: its first batch tells that the epoch is finished."""

    epoch = traced = 0

    def split_data(self, data: Mapping[str, Any], generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
        """A third of the samples is enough here."""
        parts = super().split_data(data, generator)
        return {
            part: {name: column[: len(column) // 3] for name, column in table.items()}
            for part, table in parts.items()
        }

    def augment(self, batch: dict[str, Tensor], draws: Any) -> dict[str, Tensor]:
        self.epoch = draws.epoch + 1
        return super().augment(batch, draws)

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.traced != self.epoch:
            self.traced = self.epoch
            self.leave_trace()
        return super().scores(outputs, batch)

    def leave_trace(self) -> None:
        threading.Event().wait(float(os.environ["CHAOS_PACE_S"]))
        words = (self.config["mark"], self.config["seed"], self.epoch, os.getpid(), f"{time.time():.3f}")
        line = " ".join(str(word) for word in words) + "\n"
        trace = os.open(
            Path(os.environ["CHAOS_DIR"]) / "trace", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
        )
        try:
            os.write(trace, line.encode())
        finally:
            os.close(trace)
