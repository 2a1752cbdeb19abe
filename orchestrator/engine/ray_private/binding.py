"""The worker's side: `ray.train.*` bound to one trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray
from ray.train import Checkpoint, RunConfig
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.storage import StorageContext
from ray.train.v2._internal.execution.train_fn_utils import (
    DistributedTrainFnUtils,
    get_train_fn_utils,
    set_train_fn_utils,
)

ReportFn = Callable[..., None]


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
    *,
    name: str,
    storage_path: str,
    filesystem: Any,
    checkpoint: Checkpoint | None,
    config: Mapping[str, Any],
    report: ReportFn,
    reported: Callable[[], list[Any]],
    shards: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Bind `ray.train.*` of this process to one trial, and put everything back afterwards.

    Args:
        name: the trial's name, seen as `get_context().get_experiment_name()`.
        storage_path: the trial's parent directory on `filesystem`.
        checkpoint: what `ray.train.get_checkpoint()` returns.
        report: called as `ray.train.report` is.
        reported: answers `ray.train.get_all_reported_checkpoints()`.
        shards: what `ray.train.get_dataset_shard` returns, by name; None: the study has no datasets.
    """
    context = get_train_context()
    saved_utils = get_train_fn_utils()
    saved = (context.train_run_context, context.storage_context, context.checkpoint)
    storage = StorageContext(storage_path, name, storage_filesystem=filesystem, read_only=True)
    run_config = RunConfig(name=name, storage_path=storage_path, storage_filesystem=filesystem)
    context.train_run_context = replace(
        context.train_run_context, run_config=run_config, train_loop_config=dict(config)
    )
    context.storage_context = storage
    context.checkpoint = checkpoint
    set_train_fn_utils(_TrialFnUtils(report, reported, shards))
    try:
        yield
    finally:
        set_train_fn_utils(saved_utils)
        context.train_run_context, context.storage_context, context.checkpoint = saved


def set_latest_checkpoint(checkpoint: Checkpoint) -> None:
    """Set what `ray.train.get_checkpoint()` returns from now on in this trial."""
    get_train_context().checkpoint = checkpoint


def current_worker_handle() -> Any:
    """Return the handle of the actor that this code runs in."""
    return ray.get_runtime_context().current_actor
