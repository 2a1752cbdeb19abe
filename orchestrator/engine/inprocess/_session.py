"""What the user's code calls in a trial of this process: each thread has its own trial."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from orchestrator.engine.attempts import TrialRun, UserCode, call_function, stage

_here = threading.local()


def session() -> TrialRun:
    """Return the trial of this thread: `rank`, `world_size`, `assignment`, `spec`.

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


def get_checkpoint() -> AbstractContextManager[Path | None]:
    """Return the files to go on from, in a folder that lives as long as the block; None for a fresh start."""
    return session().resume_dir()


def same_on_all_ranks(value: Any) -> Any:
    """Rank 0's value, once every rank of this thread's group has asked."""
    return _here.same(value)


def begin_worker(same: Callable[[Any], Any]) -> None:
    """Make this thread a worker; `same` is what `same_on_all_ranks` does there."""
    _here.same = same


@contextmanager
def bound(run: TrialRun) -> Iterator[None]:
    """Bind this thread to that trial; what it calls of `ray.train` works too."""
    _here.run = run
    try:
        with _ray_train():
            yield
    finally:
        _here.run = None


def user_code(function: Callable[..., Any]) -> UserCode:
    """Return a plain function of the config, or of nothing, as a trial."""

    def run_function(run: TrialRun) -> None:
        with bound(run):
            call_function(function, run)

    return run_function


def _ray_train() -> Any:
    if "ray.train" not in sys.modules:
        return nullcontext()
    from orchestrator.engine.ray_private.in_threads import ray_train_of_threads

    return ray_train_of_threads(session, report, same_on_all_ranks)
