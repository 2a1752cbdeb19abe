"""A LightningModule as a trial: Ray's strategies for Lightning, the study's reports and checkpoints."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from orchestrator.engine.entry import Entry
from orchestrator.engine.messages import Assignment
from orchestrator.engine.plain_function import bound
from orchestrator.engine.trial_run import TrialRun, stage
from orchestrator.record.checkpoints import Manifest
from orchestrator.training.sink import Silent


def run_lightning(entry: Entry, assignment: Assignment, run: TrialRun, resume: Manifest | None) -> None:
    """Train the module under Lightning's Trainer.

    Raises:
        TrialStopped: the trial was left at a report.
        Exception: whatever Lightning and the user's code raise.
    """
    # imported by trials that need it: two seconds
    from orchestrator.training.lightning.fit import Lit, fit
    from orchestrator.training.lightning.place import LightningPlace

    with bound(assignment, run, resume), ExitStack() as stack:
        folder = None
        if resume is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-resume-")))
            run.store.fetch(resume.name, folder)
        place = LightningPlace(
            config=assignment.config,
            unit=run.spec.stopping.unit,
            max_length=float(run.spec.stopping.max),
            report=_reporter(run),
            complete=lambda: run.complete,
            resume=folder,
            rank=run.rank,
            world_size=run.world_size,
            sink=run.log or Silent(),
            monitors=run.spec.monitor,
            options=_options(assignment.config),
        )
        fit(Lit(entry.target, entry.data), place)


def _reporter(run: TrialRun) -> Callable[[Mapping[str, Any], Callable[[Path], None] | None], None]:
    def report(metrics: Mapping[str, Any], save: Callable[[Path], None] | None) -> None:
        part = None
        length = metrics.get(run.spec.stopping.unit, run.index + 1)
        if save is not None and run.checkpoint_due(float(length)):
            folder = Path(tempfile.mkdtemp(prefix="orchestrator-lightning-"))
            save(folder)
            part = stage(folder, move=True)
        run.report(metrics, part)

    return report


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the Trainer needs to work in a Ray worker; the strategy by the name that the config gives it."""
    from ray.train.lightning import RayDDPStrategy, RayFSDPStrategy, RayLightningEnvironment

    strategies = {
        "ddp": RayDDPStrategy,
        "ddp_find_unused_parameters_true": lambda: RayDDPStrategy(find_unused_parameters=True),
        "fsdp": RayFSDPStrategy,
    }
    name = (config.get("trainer") or {}).get("strategy", "ddp")
    return {
        "strategy": strategies[name](),
        "plugins": [RayLightningEnvironment()],
        "accelerator": "auto",
        "devices": "auto",
    }
