"""A study's own entrypoint in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from orchestrator.engine.attempts import TrialRun, UserCode
from orchestrator.engine.inprocess._session import bound
from orchestrator.engine.runners import Code, runner_of
from orchestrator.engine.runners.session import TrialSession
from orchestrator.study.spec import StudySpec

# torch's random state and settings belong to the process
_ONE_TASK = threading.Lock()


class _ThisProcess:
    """The runner's `TrialPlace`. Tasks run one at a time, on `device`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cache: dict[str, Any] = {}

    def bound(self, run: TrialRun) -> AbstractContextManager[None]:
        """`ray.train.*` is that of the trial in this context."""
        return bound(run)

    @contextmanager
    def session(self, run: TrialRun) -> Iterator[TrialSession]:
        """Provide what the built-in loop talks to."""
        with _ONE_TASK:
            yield TrialSession(run, self._cache, self._device)


def entrypoint_of(spec: StudySpec, code_root: Path | None, device: torch.device) -> Callable[[], UserCode]:
    """Return what loads the study's entrypoint, for `InProcess`."""
    place = _ThisProcess(device)

    def load() -> UserCode:
        runner = runner_of(Code(spec.code, code_root, spec.datamodule))
        if not runner.runs_without_ray(spec.resources.workers):
            workers = f" with {spec.resources.workers} workers" if spec.resources.workers > 1 else ""
            raise TypeError(f"{spec.entrypoint}, {runner.noun}{workers}, needs Ray")
        return partial(runner.run, place=place)

    return load
