"""Lightning's loop reports to the study, once per epoch, with checkpoints that resume exactly."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from orchestrator.training.lightning.place import CHECKPOINT, LightningPlace
from orchestrator.training.ranks import mean_over_ranks
from orchestrator.training.session import TrialStopped
from orchestrator.training.streams import Streams


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
