"""Beside Lightning's loop: reports to the study, monitors, and where a module trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.utilities.data import extract_batch_size

from orchestrator.training.lightning.curves import LightningCurves
from orchestrator.training.monitors.base import HOOKS, Clock, MonitoredTrial, has_hook
from orchestrator.training.monitors.catalogue import make
from orchestrator.training.monitors.watch import Watch
from orchestrator.training.ranks import mean_over_ranks
from orchestrator.training.session import TrialStopped
from orchestrator.training.sink import Silent, Sink
from orchestrator.training.streams import Streams

AUTO = ("throughput", "gradients")
APPLY = ("throughput", "gradients", "gradient_histograms")
_SHOWN = ("start", "after_backward", "after_step")
CHECKPOINT = "lightning.ckpt"
"""Name of Lightning's file in a checkpoint's directory."""


@dataclass
class LightningPlace:
    """One rank's view of the trial. The defaults are those of a check: one process, no reports."""

    config: Mapping[str, Any]
    unit: str
    """Of `max_length`: epoch, step, report or seconds."""
    max_length: float
    report: Callable[[Mapping[str, Any], Callable[[Path], None] | None], None]
    """Takes metrics, and a function that writes a checkpoint into a directory, to be called on all ranks or
    on none. Raises `TrialStopped` where the trial ends."""
    complete: Callable[[], bool] = lambda: False
    """Whether the last report has reached `max_length`."""
    resume: Path | None = None
    """Directory of the checkpoint to go on from."""
    rank: int = 0
    world_size: int = 1
    sink: Sink = field(default_factory=Silent)
    monitors: tuple[str, ...] | str = ()
    options: Mapping[str, Any] = field(default_factory=lambda: {"accelerator": "cpu", "devices": 1})
    """For the Trainer: strategy, plugins, devices."""
    callbacks: Sequence[Any] = ()
    """Further callbacks, for checks."""


class Reports(Checkpoint):
    """Reports what the module logged, once an epoch is over.

    A `Checkpoint` for Lightning: it then adds none of its own, and calls this one after all others. The
    report is made when the next epoch starts: only then have schedulers and counters moved on, and a
    checkpoint holds what the next epoch starts from. Validation passes inside an epoch are reported without.

    Random numbers are seeded anew at every epoch, by seed, epoch and rank: Lightning keeps no random states,
    and a resumed epoch has to draw what it would have drawn.
    """

    def __init__(self, place: LightningPlace) -> None:
        self._place = place
        self._streams = Streams(int(place.config["seed"]))
        self._waiting: dict[str, Any] | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hand_over(trainer)
        if self._place.complete():
            raise TrialStopped(f"the trial has reached max: {self._place.max_length:g}")
        self._streams.seed_globals("lightning", trainer.current_epoch, self._place.rank)
        if not _iterates_anew(trainer):
            # the iterator of the first epoch was made before, with other random numbers
            iter(trainer.fit_loop._data_fetcher)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._waiting = self._metrics(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hand_over(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Count no batch of the next epoch yet: Lightning resets that only after the hooks of its start."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        progress["current"] = dict.fromkeys(progress["current"], 0)
        progress["is_last_batch"] = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        inside = trainer.training or trainer.validating
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if inside and not trainer.sanity_checking and not last:
            self._place.report(self._metrics(trainer, pl_module), None)

    def _hand_over(self, trainer: Trainer) -> None:
        if self._waiting is not None:
            metrics, self._waiting = self._waiting, None
            self._place.report(
                metrics, lambda folder: trainer.save_checkpoint(folder / CHECKPOINT, weights_only=False)
            )

    def _metrics(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """Return what was logged, averaged over the ranks: without sync_dist it is each rank's own."""
        logged = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        if self._place.world_size > 1 and logged:
            means = mean_over_ranks(list(logged.values()), self._place.world_size, module.device)
            logged = dict(zip(logged, means, strict=True))
        return {**logged, "epoch": trainer.current_epoch + 1, "step": trainer.global_step}


def _iterates_anew(trainer: Trainer) -> bool:
    """Whether Lightning's loop makes an iterator for this epoch by itself (as in its `on_run_start`)."""
    loop = trainer.fit_loop
    resuming = bool(getattr(loop, "is_resuming", False)) or loop.epoch_loop.restarting
    return bool(trainer.current_epoch > 0 and not resuming)


class FirstLosses(Checkpoint):
    """Losses of the first steps, for checks."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self.losses.append(float(loss.detach()) if isinstance(loss, torch.Tensor) else float("nan"))


class Watching(Callback):
    """Calls the monitors that need no more than a model, its gradients and a clock; tells the curves where
    the loop is.
    """

    def __init__(self, place: LightningPlace, curves: LightningCurves) -> None:
        """Choose the monitors.

        Raises:
            ValueError: one that is named asks for what a LightningModule does not show.
        """
        self._place, self._curves = place, curves
        names = AUTO if isinstance(place.monitors, str) else place.monitors
        self._monitors = [make(name) for name in names]
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
        self._curves.in_a_step = True
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

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._curves.in_a_step = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._curves.in_a_step = False
