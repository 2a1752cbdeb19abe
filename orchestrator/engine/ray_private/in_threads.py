"""`ray.train.*` for trials that are threads of this process: what the thread's own trial answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ray.train import Checkpoint
from ray.train.v2._internal.execution.train_fn_utils import LocalTrainFnUtils, set_train_fn_utils
from ray.train.v2.api.context import LocalTrainContext

from orchestrator.engine.attempts import TrialRun
from orchestrator.engine.ray_private.binding import TrialCheckpoint
from orchestrator.engine.ray_private.no_tuner import no_tuner


class _OfThread(LocalTrainFnUtils):
    """Ray's local mode, with the trial of the calling thread behind it."""

    def __init__(
        self, trial: Callable[[], TrialRun], report: Callable[..., None], same: Callable[[Any], Any]
    ) -> None:
        self._trial, self._report, self._same = trial, report, same

    def report(
        self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, *_: Any, **__: Any
    ) -> None:
        if checkpoint is None:
            self._report(metrics)
            return
        with checkpoint.as_directory() as folder:
            self._report(metrics, folder)

    def get_checkpoint(self) -> Checkpoint | None:
        run = self._trial()
        kept = [name for name, _ in run.uploads.kept] if run.uploads is not None else []
        names = [run.resume.name] if run.resume is not None else []
        if not names and not kept:
            return None
        return TrialCheckpoint(run, [*names, *kept][-1])

    def get_context(self) -> LocalTrainContext:
        run = self._trial()
        return LocalTrainContext(
            experiment_name=run.paths.root.rpartition("/")[2],
            world_size=run.world_size,
            world_rank=run.rank,
            local_rank=run.rank,
            local_world_size=run.world_size,
        )

    def barrier(self) -> None:
        self._same(None)

    def broadcast_from_rank_zero(self, data: Any) -> Any:
        return self._same(data)


_using, _lock, _stack = 0, threading.Lock(), ExitStack()


@contextmanager
def ray_train_of_threads(
    trial: Callable[[], TrialRun], report: Callable[..., None], same: Callable[[Any], Any]
) -> Iterator[None]:
    """Let `ray.train.*` of this process ask these, until the last thread has left the context."""
    global _using
    with _lock:
        _using += 1
        set_train_fn_utils(_OfThread(trial, report, same))
        if _using == 1:
            _stack.enter_context(no_tuner(0, "", ""))
    try:
        yield
    finally:
        with _lock:
            _using -= 1
            if _using == 0:
                _stack.close()
                set_train_fn_utils(None)
