"""The monitors that need no more than a model, its gradients and a clock, beside Lightning's loop."""

from __future__ import annotations

import time
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.data import extract_batch_size

from orchestrator.training.lightning.place import LightningPlace
from orchestrator.training.monitors.base import Clock, Monitor, MonitoredTrial
from orchestrator.training.monitors.catalogue import make
from orchestrator.training.monitors.watch import EVERY
from orchestrator.training.streams import preserved_random_state

AUTO = ("throughput", "gradients")
APPLY = ("throughput", "gradients", "gradient_histograms")
_HOOKS = frozenset({"start", "after_backward", "after_step"})


class Watching(Callback):
    """Calls monitors at the first and at every 20th step."""

    def __init__(self, place: LightningPlace) -> None:
        """Choose the monitors.

        Raises:
            ValueError: one that is named asks for what a LightningModule does not show.
        """
        names = AUTO if isinstance(place.monitors, str) else place.monitors
        self._place = place
        self._monitors = [make(name) for name in names]
        for monitor in self._monitors:
            if asks := sorted(_hooks(monitor) - _HOOKS):
                raise ValueError(
                    f"monitor {monitor.name} looks at a Task's samples or predictions ({', '.join(asks)}), "
                    f"which a LightningModule does not show; those that apply: {', '.join(APPLY)}"
                )
        self._clock = Clock()
        self._ended = self._began = time.perf_counter()
        self._began_at = 0

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
        for monitor in self._monitors:
            monitor.run = run
            monitor.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._clock.data_s += time.perf_counter() - self._ended

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step + 1
        if _looks(step):
            with preserved_random_state():
                for monitor in self._monitors:
                    monitor.after_backward(step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self._clock.step_s += now - self._ended
        self._clock.samples += extract_batch_size(batch)
        if _looks(trainer.global_step):
            with preserved_random_state():
                for monitor in self._monitors:
                    monitor.after_step(trainer.global_step)
        self._ended = time.perf_counter()


def _looks(step: int) -> bool:
    return step == 1 or step % EVERY == 0


def _hooks(monitor: Monitor) -> set[str]:
    """Names of the hooks that the class of this monitor brings."""
    every = (name for name in vars(Monitor) if callable(getattr(Monitor, name)) and not name.startswith("_"))
    return {name for name in every if getattr(type(monitor), name) is not getattr(Monitor, name)}
