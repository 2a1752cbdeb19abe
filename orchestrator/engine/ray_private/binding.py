"""The worker's side: `ray.train.*` bound to one trial."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, RunConfig
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.storage import StorageContext
from ray.train.v2._internal.execution.train_fn_utils import (
    DistributedTrainFnUtils,
    get_train_fn_utils,
    set_train_fn_utils,
)

from orchestrator.engine.attempts import TrialRun
from orchestrator.engine.ray_private.no_tuner import no_tuner

ReportFn = Callable[..., None]


class TrialCheckpoint(Checkpoint):
    """A checkpoint of the trial: what the user's code has stored, exactly, on every storage."""

    def __init__(self, run: TrialRun, name: str) -> None:
        where, files = run.storage.path(run.paths.checkpoint(name)), run.storage.backend.arrow
        super().__init__(where, filesystem=files)
        self._run, self._name = run, name

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy it to a directory, by default a temporary one; returns it."""
        folder = Path(path or self._get_temporary_checkpoint_dir()).expanduser()
        self._run.handed_out = True
        if path is None:
            shutil.rmtree(folder, ignore_errors=True)  # an earlier call's
        return str(self._run.store.fetch(self._name, folder))

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """Give a directory that holds it, to be read only, as long as the block."""
        with self._run.shown(self._name) as folder:
            yield str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return Checkpoint, (self.path, self.filesystem)  # elsewhere there is no trial


class _TrialFnUtils(DistributedTrainFnUtils):
    """`ray.train.*` of one trial: from Ray, but for `report`, the list of checkpoints and datasets."""

    def __init__(
        self, report: ReportFn, reported: Callable[[], list[Any]], shards: Mapping[str, Any] | None
    ) -> None:
        self._report = report
        self._reported = reported
        self._shards = shards

    def report(
        self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, *args: Any, **kwargs: Any
    ) -> None:
        self._report(metrics, checkpoint, *args, **kwargs)

    def get_dataset_shard(self, dataset_info: Any) -> Any:
        name = dataset_info.dataset_name
        if self._shards is None:
            raise KeyError(f"there is no dataset {name!r}: the study file has no `datasets: module:function`")
        if name not in self._shards:
            raise KeyError(
                f"there is no dataset {name!r}; the study's `datasets` gives {', '.join(self._shards)}"
            )
        return self._shards[name]

    def get_all_reported_checkpoints(self, *_: Any, **__: Any) -> list[Any]:
        return self._reported()


@contextmanager
def bind_trial(
    run: TrialRun, report: ReportFn, reported: Callable[[], list[Any]], shards: Mapping[str, Any] | None
) -> Iterator[None]:
    """Bind `ray.train.*` of this process to one trial, and put everything back afterwards.

    Args:
        report: called as `ray.train.report` is.
        reported: answers `ray.train.get_all_reported_checkpoints()`.
        shards: what `ray.train.get_dataset_shard` returns, by name; None: the study has no datasets.
    """
    context, saved_utils = get_train_context(), get_train_fn_utils()
    saved = (context.train_run_context, context.storage_context, context.checkpoint)
    parent, _, name = run.paths.root.rpartition("/")  # the name is what `get_experiment_name()` says
    path, files = run.storage.path(parent), run.storage.backend.arrow
    run_config = RunConfig(name=name, storage_path=path, storage_filesystem=files)
    context.train_run_context = replace(
        context.train_run_context, run_config=run_config, train_loop_config=run.config()
    )
    context.storage_context = StorageContext(path, name, storage_filesystem=files, read_only=True)
    context.checkpoint = TrialCheckpoint(run, run.resume.name) if run.resume else None
    set_train_fn_utils(_TrialFnUtils(report, reported, shards))
    try:
        with no_tuner(run.rank, run.assignment.cell, run.spec.name):
            yield
    finally:
        set_train_fn_utils(saved_utils)
        context.train_run_context, context.storage_context, context.checkpoint = saved


def set_latest_checkpoint(checkpoint: Checkpoint) -> None:
    """Set what `ray.train.get_checkpoint()` returns from now on in this trial."""
    get_train_context().checkpoint = checkpoint
