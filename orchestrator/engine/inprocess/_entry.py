"""A study's own entrypoint in this process: a plain function, or a Task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from orchestrator.engine.attempt import UserCode
from orchestrator.engine.entry import load_entry
from orchestrator.engine.inprocess._session import user_code
from orchestrator.engine.trial_run import TrialRun
from orchestrator.engine.uploads import SnapshotPart
from orchestrator.study.spec import StudySpec
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task
from orchestrator.training.sink import Silent
from orchestrator.training.snapshot import TrainingSnapshot

# torch's random state and settings belong to the process
_ONE_TASK = threading.Lock()


class _TaskSession(LocalSession):
    """The built-in loop's session, with the trial's record behind it."""

    run: TrialRun

    def checkpoint_due(self, length: float) -> bool:
        return self.run.checkpoint_due(length)

    def report(self, metrics: Mapping[str, Any], checkpoint: TrainingSnapshot | None = None) -> None:
        self.run.report(metrics, None if checkpoint is None else SnapshotPart(checkpoint))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.run.scalars(values, step)

    @contextmanager
    def resume_dir(self) -> Iterator[Path | None]:
        with self.run.resume_dir() as folder:
            yield folder


def entrypoint_of(spec: StudySpec, code_root: Path | None, device: torch.device) -> Callable[[], UserCode]:
    """What loads the study's entrypoint, for `InProcess`. Tasks run one at a time, on `device`."""
    cache: dict[str, Any] = {}

    def load() -> UserCode:
        entry = load_entry(spec.entrypoint, code_root, spec.datamodule)
        if entry.kind == "function":
            return user_code(entry.target)
        if entry.kind != "task" or spec.resources.workers > 1:
            raise TypeError(
                f"{spec.entrypoint} needs Ray: in one process run plain functions, and Tasks of one worker"
            )
        return run_one

    def run_one(run: TrialRun) -> None:
        task = load_entry(spec.entrypoint, code_root).target
        session = _TaskSession(
            config=dict(run.assignment.config),
            max_length=float(spec.stopping.max),
            trial_dir=run.storage.path(run.assignment.trial_dir),
            unit=spec.stopping.unit,
            cache=cache,
            device=device,
            monitors=spec.monitor,
            sink=run.log or Silent(),
        )
        session.run = run
        with _ONE_TASK:
            run_task(task, session)

    return load
