"""A Ray Train function, unchanged, as a trial: `ray.train.*` is bound to the trial while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, CheckpointUploadMode, ReportedCheckpoint, ReportedCheckpointStatus

from orchestrator.engine.attempts import TrialRun, stage
from orchestrator.engine.ray_private.binding import bind_trial, checkpoint_of, set_latest_checkpoint
from orchestrator.engine.workers._datasets import make_shards


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
                set_latest_checkpoint(checkpoint_of(run, run.uploads.kept[-1][0]))

    def reported() -> list[ReportedCheckpoint]:
        assert run.uploads is not None
        run.uploads.wait()
        metric = run.spec.metric.name
        return [
            ReportedCheckpoint(
                checkpoint_of(run, name), {metric: manifest.value}, ReportedCheckpointStatus.COMMITTED
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
