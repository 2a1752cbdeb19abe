"""What `orchestrator.report`, `trial_dir` and `config` speak to while a trial's code runs in this process."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from orchestrator.current import BoundTrial, running
from orchestrator.engine.attempts._staging import staged
from orchestrator.engine.attempts._trial_run import TrialRun
from orchestrator.engine.attempts._uploads import StagedPart, stage


def current(run: TrialRun, folder: Path) -> AbstractContextManager[None]:
    """Make it the trial of this thread. `folder`: the directory that is the trial's own."""

    def report(metrics: object, checkpoint: Path | None) -> None:
        run.report(metrics, None if checkpoint is None else _staged(checkpoint))  # type: ignore[arg-type]

    return running(BoundTrial(report, run.scores.offer, run.assignment.config, folder))


def _staged(checkpoint: Path) -> StagedPart:
    if checkpoint.is_dir():
        return stage(checkpoint, move=False)
    with staged() as folder:
        shutil.copy2(checkpoint, folder / checkpoint.name)
        return stage(folder, move=False)
