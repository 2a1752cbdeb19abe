"""One trial of a LightningModule: make it from the config, and let Lightning's Trainer train it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything

from orchestrator.training.lightning.arguments import divide
from orchestrator.training.lightning.callbacks import CHECKPOINT, LightningPlace, Reports, Watching
from orchestrator.training.lightning.curves import LightningCurves

DEFAULTS = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
}
"""Options that a study sees differently from a person; `trainer` in the config overrides them."""


@dataclass(frozen=True)
class Lit:
    """A LightningModule, and the DataModule that goes with it."""

    module: type[LightningModule]
    data: type[LightningDataModule] | None = None

    def build(self, config: Mapping[str, Any]) -> tuple[LightningModule, LightningDataModule | None]:
        """Fresh ones, seeded."""
        arguments = divide(config, self.module, self.data)
        seed_everything(int(config["seed"]) % 2**32, workers=True, verbose=False)
        module = self.module(**arguments.module)
        return module, None if self.data is None else self.data(**arguments.data)


def fit(lit: Lit, place: LightningPlace) -> LightningModule:
    """Train to the end, or to where a report says stop; returns the trained module.

    Raises:
        TrialStopped: the trial was left at a report.
        Exception: whatever Lightning and the module raise.
    """
    with trainer_for(lit, place) as trainer:
        module, data = lit.build(place.config)
        resume = None if place.resume is None else place.resume / CHECKPOINT
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=False)
        return module


@contextmanager
def trainer_for(lit: Lit, place: LightningPlace) -> Iterator[Trainer]:
    """Lightning's Trainer with the study's callbacks; what it writes besides goes into a temporary folder."""
    given = divide(place.config, lit.module, lit.data).trainer
    given.pop("strategy", None)  # `place.options` has Ray's, as it names it
    curves = LightningCurves(place.sink)
    with tempfile.TemporaryDirectory(prefix="orchestrator-lightning-") as folder:
        yield Trainer(
            **{**DEFAULTS, **given, **place.options},
            **_length(place),
            callbacks=[*place.callbacks, Watching(place, curves), Reports(place)],
            logger=curves,
            default_root_dir=folder,
        )


def _length(place: LightningPlace) -> dict[str, int]:
    if place.unit == "epoch":
        return {"max_epochs": int(place.max_length)}
    if place.unit == "step":
        return {"max_epochs": -1, "max_steps": int(place.max_length)}
    return {"max_epochs": -1}  # reports and seconds are counted by the study, which stops the trial
