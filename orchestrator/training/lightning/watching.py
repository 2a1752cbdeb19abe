"""The monitors that need no more than a model, its gradients and a clock, beside Lightning's loop."""

from __future__ import annotations

import time
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.data import extract_batch_size

from orchestrator.training.lightning.place import LightningPlace
from orchestrator.training.monitors.base import HOOKS, Clock, MonitoredTrial, has_hook
from orchestrator.training.monitors.catalogue import make
from orchestrator.training.monitors.watch import Watch

AUTO = ("throughput", "gradients")
APPLY = ("throughput", "gradients", "gradient_histograms")


class Watching(Callback):
    """Calls monitors where Lightning's loop has something for them to see."""

    def __init__(self, place: LightningPlace) -> None:
        """Choose the monitors.

        Raises:
            ValueError: one that is named asks for what a LightningModule does not show.
        """
        self._place = place
        self._monitors = [
            make(name) for name in (AUTO if isinstance(place.monitors, str) else place.monitors)
        ]
        for monitor in self._monitors:
            asks = sorted(hook for hook in HOOKS if hook not in _SHOWN and has_hook(monitor, hook))
            if asks:
                raise ValueError(
                    f"monitor {monitor.name} looks at a Task's samples or predictions ({', '.join(asks)}), "
                    f"which a LightningModule does not show; those that apply: {', '.join(APPLY)}"
                )
        self._watch: Watch
        self._clock = Clock()
        self._ended = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        run = MonitoredTrial(
            task=cast("Any", None),  # monitors that apply do not look at it
            model=pl_module,
            val=cast("Any", None),
            sink=self._place.sink,
            device=pl_module.device,
            forward=cast("Any", None),
            world_rank=self._place.rank,
            world_size=self._place.world_size,
            clock=self._clock,
        )
        self._watch = Watch(self._monitors, run)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._clock.data_s += time.perf_counter() - self._ended

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._watch.after_backward(trainer.global_step + 1)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        seconds = time.perf_counter() - self._ended
        self._clock.step_s += seconds
        self._clock.samples += extract_batch_size(batch)
        self._watch.after_step(trainer.global_step, seconds)
        self._ended = time.perf_counter()


_SHOWN = ("start", "after_backward", "after_step")
