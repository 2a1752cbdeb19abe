"""The digits example, which waits at the start of an epoch while the test keeps a file there."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from torch import Tensor

from trials.digits import Digits

PATIENCE_S = 240.0


class Gated(Digits):
    """`<dir>/block-<name>-<seed>-<epoch>` holds the trial before that epoch (from 1)."""

    seen = -1

    def augment(self, batch: dict[str, Tensor], draws: Any) -> dict[str, Tensor]:
        if draws.epoch != self.seen:
            self.seen = draws.epoch
            self.wait_at(draws.epoch + 1)
        return super().augment(batch, draws)

    def wait_at(self, epoch: int) -> None:
        gate = self.config["gate"]
        where = f"{gate['name']}-{self.config['seed']}-{epoch}"
        block, waiting = (Path(gate["dir"]) / f"{kind}-{where}" for kind in ("block", "waiting"))
        if not block.exists():
            return
        waiting.with_suffix(".new").write_text(str(os.getpid()))
        waiting.with_suffix(".new").rename(waiting)
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.02)):
            if not block.exists():
                return
            pause.wait(0.02)
        raise TimeoutError(f"nobody opened {block}")
