"""A study's own entrypoint in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orchestrator.engine.attempts import SnapshotPart, TrialRun, UserCode
from orchestrator.engine.inprocess._session import bound
from orchestrator.engine.runners import Code, runner_of
from orchestrator.study.spec import StudySpec
from orchestrator.training.local import LocalSession
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


class _ThisProcess:
    """The runner's `Place`. Tasks run one at a time, on `device`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cache: dict[str, Any] = {}

    def bound(self, run: TrialRun) -> AbstractContextManager[None]:
        """`ray.train.*` is that of the trial in this context."""
        return bound(run)

    @contextmanager
    def session(self, run: TrialRun) -> Iterator[LocalSession]:
        """What the built-in loop talks to."""
        session = _TaskSession(
            config=dict(run.assignment.config),
            max_length=float(run.spec.stopping.max),
            trial_dir=run.storage.path(run.assignment.trial_dir),
            unit=run.spec.stopping.unit,
            cache=self._cache,
            device=self._device,
            monitors=run.spec.monitor,
            sink=run.log or Silent(),
        )
        session.run = run
        with _ONE_TASK:
            yield session


def entrypoint_of(spec: StudySpec, code_root: Path | None, device: torch.device) -> Callable[[], UserCode]:
    """What loads the study's entrypoint, for `InProcess`."""
    place = _ThisProcess(device)

    def load() -> UserCode:
        runner = runner_of(Code(spec.entrypoint, code_root, spec.datamodule))
        if not runner.runs_without_ray(spec.resources.workers):
            workers = f" with {spec.resources.workers} workers" if spec.resources.workers > 1 else ""
            raise TypeError(f"{spec.entrypoint}, {runner.noun}{workers}, needs Ray")
        return partial(runner.run, place=place)

    return load
