"""A trial as a run of Weights & Biases. Its own variables (WANDB_MODE, WANDB_PROJECT, ...) hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orchestrator.record.loggers import ServiceLogger, TrackedTrial

INIT_TIMEOUT_S = 30


class WandbRun(ServiceLogger):
    """Writes one trial to Weights & Biases. The project is the study's, unless WANDB_PROJECT names one."""

    needs = "wandb"

    def __init__(self, trial: TrackedTrial) -> None:
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_TIMEOUT_S),
            x_disable_machine_info=True,  # commit, environment and machine are in the study's record
            x_disable_meta=True,
            x_disable_stats=True,
        )
        self._run: Any = wandb.init(
            id=trial.run_id,
            resume="allow",
            project=os.environ.get("WANDB_PROJECT") or trial.study,
            name=trial.name,
            group=trial.arm,
            tags=[f"{key}:{value}"[:64] for key, value in trial.tags().items()],
            config=dict(trial.config),
            dir=os.environ.get("WANDB_DIR") or trial.folder,
            settings=settings,
        )

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Drop a step below the last one that the run has: a resumed trial repeats it."""
        self._run.log({**values, "_timestamp": time_s}, step=step)

    def close(self, state: str, finals: Mapping[str, float]) -> None:
        """Run that are not answered are marked as crashed; a later attempt takes them up."""
        try:
            self._run.summary.update(
                {"state": state, **{f"final/{key}": value for key, value in finals.items()}}
            )
        finally:
            self._run.finish(exit_code=0 if state in ("done", "stopped", "diverged", "skipped") else 1)
