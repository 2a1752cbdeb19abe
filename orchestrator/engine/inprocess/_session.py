"""What the user's code calls in a trial of this process: each thread has its own trial."""

from __future__ import annotations

import inspect
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.engine.attempt import UserCode
from orchestrator.engine.trial_run import TrialRun, stage

_here = threading.local()


def session() -> TrialRun:
    """The trial of this thread: `rank`, `world_size`, `assignment`, `spec`.

    Raises:
        RuntimeError: there is none.
    """
    run: TrialRun | None = getattr(_here, "run", None)
    if run is None:
        raise RuntimeError("this thread runs no trial: report from the function that the study calls")
    return run


def report(metrics: Mapping[str, Any], checkpoint: Path | str | None = None) -> None:
    """Report metrics, with a folder that holds this rank's checkpoint, as `ray.train.report` does.

    Raises:
        TrialStopped: the trial is left here.
        ValueError: the report lacks what the study needs of it.
    """
    session().report(metrics, None if checkpoint is None else stage(Path(checkpoint), move=False))


@contextmanager
def get_checkpoint() -> Iterator[Path | None]:
    """The files to go on from, in a folder that lives as long as the block; None for a fresh start."""
    run = session()
    if run.resume is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="orchestrator-resume-") as folder:
        run.store.fetch(run.resume.name, Path(folder))
        yield Path(folder)


def user_code(function: Callable[..., Any]) -> UserCode:
    """A plain function of the config, or of nothing, as a trial."""

    def run_function(run: TrialRun) -> None:
        _here.run = run
        try:
            if len(inspect.signature(function).parameters) == 0:
                function()
            else:
                function(dict(run.assignment.config))
        finally:
            _here.run = None

    return run_function
