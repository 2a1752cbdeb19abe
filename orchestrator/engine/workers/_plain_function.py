"""A Ray Train function, unchanged, as a trial: `ray.train.*` is bound to the trial while it runs.

`datasets:` of a study are Ray datasets of one trial, a shard of each for every worker:

    def make_datasets(config):
        return {"train": ray.data.read_parquet(...), "val": ray.data.read_parquet(...)}

As with Ray Train's own `datasets=`: every worker gets as many rows as the others, and what does not divide
is left out. Ray Data runs its tasks on CPUs that no worker holds: one of every node is kept free for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray.train.collective
from ray.train import Checkpoint, CheckpointUploadMode, ReportedCheckpoint, ReportedCheckpointStatus

from orchestrator.engine.attempts import TrialRun, stage
from orchestrator.engine.ray_private.binding import TrialCheckpoint, bind_trial, set_latest_checkpoint
from orchestrator.engine.runners.runner import load_name


@contextmanager
def bound(run: TrialRun) -> Iterator[None]:
    """`ray.train.*` is that of the trial in this context."""
    shards = None
    if run.spec.datasets is not None:
        shards = make_shards(run.spec.datasets, run.assignment.config, run.rank, run.world_size)

    def report(
        metrics: dict[str, Any],
        checkpoint: Checkpoint | None = None,
        checkpoint_dir_name: str | None = None,
        checkpoint_upload_mode: CheckpointUploadMode = CheckpointUploadMode.SYNC,
        delete_local_checkpoint_after_upload: bool | None = None,
        checkpoint_upload_fn: Callable[..., Any] | None = None,
        validation: Any = False,
    ) -> None:
        del checkpoint_dir_name  # names follow the step, so that they sort and resume
        _refuse(checkpoint_upload_mode, checkpoint_upload_fn, validation)
        part = None
        if checkpoint is not None:
            with ExitStack() as stack:
                local = Path(stack.enter_context(checkpoint.as_directory()))
                part = stage(local, move=bool(delete_local_checkpoint_after_upload))
        try:
            run.report(metrics, part)
        finally:
            if run.uploads is not None and run.uploads.kept:
                set_latest_checkpoint(TrialCheckpoint(run, run.uploads.kept[-1][0]))

    def reported() -> list[ReportedCheckpoint]:
        assert run.uploads is not None
        run.uploads.wait()
        metric = run.spec.metric.name
        return [
            ReportedCheckpoint(
                TrialCheckpoint(run, name), {metric: manifest.value}, ReportedCheckpointStatus.COMMITTED
            )
            for name, manifest in run.uploads.kept
        ]

    with bind_trial(run, report, reported, shards):
        yield


def _refuse(mode: CheckpointUploadMode, upload: Callable[..., Any] | None, validation: Any) -> None:
    """Options of `ray.train.report` that would go round the trial's record."""
    if mode is CheckpointUploadMode.NO_UPLOAD or upload is not None:
        raise ValueError(
            "ray.train.report(checkpoint_upload_mode=NO_UPLOAD) and checkpoint_upload_fn= are not "
            "available in a study: checkpoints are stored in the trial's directory (SYNC and ASYNC work)."
        )
    if validation:
        raise ValueError(
            "ray.train.report(validation=...) is not available in a study; report the metric itself"
        )


def make_shards(path: str, config: Mapping[str, Any], rank: int, world_size: int) -> dict[str, Any]:
    """Return this rank's `ray.data.DataIterator` of every dataset that the function at `path` makes.

    The function runs on rank 0 only. Its module is importable already: it lies beside the entrypoint's.

    Raises:
        Exception: on every rank, when the function raises; TypeError when it gives something else.
    """
    if world_size == 1:
        return {name: made.iterator() for name, made in _made(path, config).items()}
    answer: Any = None
    if rank == 0:
        try:
            answer = {
                name: made.streaming_split(world_size, equal=True)
                for name, made in _made(path, config).items()
            }
        except Exception as error:
            answer = error
    answer = ray.train.collective.broadcast_from_rank_zero(answer)
    if isinstance(answer, Exception):
        raise answer
    return {name: shards[rank] for name, shards in answer.items()}


def _made(path: str, config: Mapping[str, Any]) -> dict[str, Any]:
    import ray.data  # a second, for studies that need it

    ray.data.DataContext.get_current().enable_progress_bars = False
    made = load_name(path, None)(dict(config))
    if not isinstance(made, Mapping) or not all(isinstance(data, ray.data.Dataset) for data in made.values()):
        kinds = (
            {name: type(data).__name__ for name, data in made.items()}
            if isinstance(made, Mapping)
            else type(made).__name__
        )
        raise TypeError(
            f"{path} gives {kinds}; `datasets` names a function that gives a dict of ray.data.Dataset"
        )
    return dict(made)
