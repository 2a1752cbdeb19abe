from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.util import tensor_util

from orchestrator.cli.tensorboard import mirror
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.layout import StudyPaths, TrialPaths
from orchestrator.record.metrictable import STEPS, read_metrics, read_table
from orchestrator.record.run import Run
from orchestrator.record.storage import Storage
from orchestrator.record.triallog import ResumePoint, TrialLog

STUDY = StudyPaths.of("s")
TRIAL = STUDY.trial("no-mixup", 3)


def row(report: int, attempt: int = 1, **metrics: Any) -> dict[str, Any]:
    return {
        "report": report,
        "step": 10 * report,
        "epoch": report,
        "time_s": 0.5 * report,
        "attempt": attempt,
        "val/accuracy": report / 100,
        **metrics,
    }


def run(storage: Storage, reports: range, attempt: int = 1, resume: ResumePoint | None = None) -> TrialLog:
    log = TrialLog(storage, TRIAL, attempt, resume)
    for report in reports:
        for step in range(10 * report - 9, 10 * report + 1):
            log.scalars({"batch/loss": 1000.0 * attempt + step}, step)
        log.report(row(report, attempt))
        log.flush()
    return log


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars(tag)]


def curve_as_served(folder: Path, tag: str) -> list[tuple[int, float]]:
    """As the pages of TensorBoard get it, with `--load_fast=false`."""
    served = EventMultiplexer(tensor_size_guidance={"scalars": 0})
    served.AddRunsFromDirectory(str(folder.parent))
    served.Reload()
    points = served.Tensors(folder.name, tag)
    return [(point.step, float(tensor_util.make_ndarray(point.tensor_proto))) for point in points]


def table(storage: Storage, path: str) -> Any:
    return pq.read_table(io.BytesIO(storage.read_bytes(path)))


def test_csv_has_every_point_of_every_attempt(storage: Storage, tmp_path: Path) -> None:
    for attempt, resume in ((1, None), (2, ResumePoint(report=1, step=10))):
        with closing(TrialLog(storage, TRIAL, attempt, resume, loggers=("csv",))) as log:
            log.report({"report": attempt, "step": 10 * attempt, "attempt": attempt, "val/a": 1 / 3})
            log.flush()
            log.scalars({"lr": 0.5, "name": "no number"}, 10 * attempt + 1)

    def rows(name: str) -> list[list[str]]:
        return [line.decode().split(",") for line in storage.read_lines(f"{TRIAL.root}/{name}")]

    for name, step in (("curves.csv", 10), ("curves.a2.csv", 20)):
        head, *points = rows(name)
        assert head == ["step", "time", "tag", "value"]
        assert [(s, tag, float(value)) for s, _, tag, value in points] == [
            (str(step), "val/a", 1 / 3),
            (str(step + 1), "lr", 0.5),
        ]


@pytest.mark.slow
def test_rows_are_readable_while_running_and_after(storage: Storage) -> None:
    log = run(storage, range(1, 4))
    expected = [row(report) for report in (1, 2, 3)]
    assert read_metrics(storage, TRIAL) == expected
    assert len(read_table(storage, TRIAL, STEPS)) == 30
    log.finish()
    log.finish()
    assert read_metrics(storage, TRIAL) == expected
    found = table(storage, TRIAL.table("metrics").parquet)
    assert found.column_names == ["report", "step", "epoch", "time_s", "attempt", "val/accuracy"]
    assert table(storage, TRIAL.table("steps").parquet).num_rows == 30
    assert storage.grown(TRIAL.table("metrics").jsonl) == []
    assert storage.grown(TRIAL.table("steps").jsonl) == []


def test_columns_have_types(local: Storage) -> None:
    with closing(TrialLog(local, TRIAL, loggers=())) as log:
        log.report(
            {
                **row(1),
                "epoch": None,
                "n": 1,
                "f": 1,
                "b": True,
                "s": "x",
                "bad": math.nan,
                "np": np.float32(0.5),
            }
        )
        log.report({**row(2), "epoch": None, "n": 2, "f": math.inf, "b": False, "s": "y", "late": 3})
        log.finish()
    schema = table(local, TRIAL.table("metrics").parquet).schema
    kinds = {
        name: str(schema.field(name).type) for name in ("report", "n", "f", "b", "s", "bad", "np", "late")
    }
    assert kinds == {
        "report": "int64", "n": "int64", "f": "double", "b": "bool", "s": "string", "bad": "double",
        "np": "double", "late": "int64",
    }  # fmt: skip
    first, second = read_metrics(local, TRIAL)
    assert first["epoch"] is None
    assert math.isnan(first["bad"])
    assert second["f"] == math.inf
    assert "bad" not in second


def test_a_trial_without_reports_has_an_empty_table(local: Storage) -> None:
    TrialLog(local, TRIAL, loggers=()).finish()
    assert table(local, TRIAL.table("metrics").parquet).num_rows == 0
    assert read_metrics(local, TRIAL) == []


@pytest.mark.parametrize("ended", ["killed", "closed", "finished"])
def test_a_resumed_trial_does_not_fold_back(storage: Storage, tmp_path: Path, ended: str) -> None:
    log = run(storage, range(1, 6))
    {"killed": log.flush, "closed": log.close, "finished": log.finish}[ended]()
    manifest = Manifest(step=20, epoch=2, length=2, report=2, time_s=1.0, attempt=1)
    resumed = run(storage, range(3, 5), attempt=2, resume=ResumePoint(manifest.report, manifest.step))
    resumed.close()
    if ended == "killed":
        log.close()

    rows = read_metrics(storage, TRIAL)
    assert [(r["report"], r["attempt"]) for r in rows] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert [r["step"] for r in read_table(storage, TRIAL, STEPS)] == list(range(1, 41))
    assert [row["val/accuracy"] for row in resumed.earlier()] == [0.01, 0.02]
    assert resumed.earlier() == []  # they are not kept

    folder = tmp_path / "mirror" / "trial"
    storage.copy_out(TRIAL.root, folder)
    expected = [(step, 1000.0 + step) for step in range(1, 21)] + [(s, 2000.0 + s) for s in range(21, 41)]
    assert curve(folder, "batch/loss") == expected
    assert curve_as_served(folder, "batch/loss") == expected
    assert [step for step, _ in curve(folder, "val/accuracy")] == [10, 20, 30, 40]


def test_a_trial_that_starts_over_leaves_nothing_of_the_first_try(local: Storage) -> None:
    run(local, range(1, 4)).close()
    run(local, range(1, 3), attempt=2).close()
    assert [(r["report"], r["attempt"]) for r in read_metrics(local, TRIAL)] == [(1, 2), (2, 2)]
    expected = [(step, 2000.0 + step) for step in range(1, 21)]
    assert curve(local.local_path(TRIAL.root), "batch/loss") == expected
    assert curve_as_served(local.local_path(TRIAL.root), "batch/loss") == expected


def test_a_torn_row_is_dropped_on_resume(local: Storage) -> None:
    run(local, range(1, 4)).close()
    path = local.local_path(TRIAL.table("metrics").jsonl)
    path.write_bytes(path.read_bytes()[:-5])
    assert [r["report"] for r in read_metrics(local, TRIAL)] == [1, 2]
    run(local, range(4, 5), attempt=2, resume=ResumePoint(report=3, step=30)).close()
    assert [r["report"] for r in read_metrics(local, TRIAL)] == [1, 2, 4]


def test_a_crash_while_finishing_loses_nothing(storage: Storage) -> None:
    log = run(storage, range(1, 4))
    log.close()
    lines = {path: storage.read_bytes(path) for path in storage.grown(TRIAL.table("metrics").jsonl)}
    log.finish()
    some = dict(list(lines.items())[-1:])  # the removal of the lines had just begun
    for path, data in some.items():
        storage.write_atomic(path, data)
    assert [r["report"] for r in read_metrics(storage, TRIAL)] == [1, 2, 3]
    TrialLog(storage, TRIAL, 2, ResumePoint(report=2, step=20)).close()
    assert [r["report"] for r in read_metrics(storage, TRIAL)] == [1, 2]


def test_text_and_awkward_values(local: Storage) -> None:
    with closing(TrialLog(local, TRIAL)) as log:
        log.text("config", "| key | value |\n|---|---|\n| mixup | 0 |")
        log.report(row(1, note="text is no point", huge=1e300, flag=True, bad=math.nan))
    events = EventAccumulator(str(local.local_path(TRIAL.root)))
    events.Reload()
    assert "config/text_summary" in events.Tags()["tensors"]
    assert set(events.Tags()["scalars"]) == {"val/accuracy", "huge", "flag", "bad", "epoch"}
    assert math.isnan(events.Scalars("bad")[0].value)
    assert events.Scalars("huge")[0].value == math.inf


class Tensor:
    """Stands for a tensor on a device: reading it is expensive."""

    def __init__(self, value: float) -> None:
        self.value, self.reads = value, 0

    def detach(self) -> Tensor:
        return self

    def item(self) -> float:
        self.reads += 1
        return self.value


def test_step_scalars_are_read_when_they_are_written(local: Storage) -> None:
    with closing(TrialLog(local, TRIAL)) as log:
        tensor = Tensor(0.25)
        log.scalars({"loss": tensor}, 1)
        log.flush()
        assert tensor.reads == 1
    assert read_table(local, TRIAL, STEPS) == [{"step": 1, "loss": 0.25}]


def hparams_rows(logdir: Path, metrics: list[str]) -> dict[str, tuple[dict[str, Any], dict[str, float], int]]:
    """The rows of the HParams tab, by the code of TensorBoard's own backend."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.context import RequestContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    served = EventMultiplexer()
    served.AddRunsFromDirectory(str(logdir))
    served.Reload()
    provider = MultiplexerDataProvider(served, str(logdir))
    context = backend_context.Context(_TensorBoard(provider))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
        col_params=[api_pb2.ColParams(metric=api_pb2.MetricName(tag=tag)) for tag in metrics],
        include_metrics=True,
    )
    ctx = RequestContext()
    metadata = context.hparams_metadata(ctx, "e")
    experiment = context.experiment_from_metadata(
        ctx, "e", include_metrics=True, hparams_run_to_tag_to_content=metadata, data_provider_hparams=[]
    )
    assert sorted(info.name.tag for info in experiment.metric_infos) == sorted(metrics)
    handler = list_session_groups.Handler(ctx, context, "e", request)
    rows = {}
    for group in handler.run().session_groups:
        config = {key: _plain(value) for key, value in group.hparams.items()}
        values = {value.name.tag: value.value for value in group.metric_values}
        rows[group.name] = (config, values, group.sessions[0].status)
        assert len(group.sessions) == 1
    return rows


class _TensorBoard:
    """What TensorBoard gives a plugin."""

    def __init__(self, provider: Any) -> None:
        self.data_provider = provider


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    return None if kind is None else getattr(value, kind)


def test_hparams_show_one_row_per_trial(local: Storage) -> None:
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN

    config: Mapping[str, Any] = {
        "model": {"width": 32, "norm": True},
        "optim": {"name": "sgd"},
        "sizes": [1, 2],
    }
    one, other, third = (STUDY.trial("baseline", 0), STUDY.trial("no-mixup", 0), STUDY.trial("no-mixup", 1))
    with closing(TrialLog(local, one)) as log:
        log.began(config, ["val/accuracy"])
        log.report(row(1))
        log.ended({"val/accuracy": 0.75}, success=True)
    with closing(TrialLog(local, other)) as log:  # resumed: its row is written once more
        log.began(config, ["val/accuracy"])
        log.report(row(1))
    with closing(TrialLog(local, other, 2, ResumePoint(1, 10))) as log:
        log.began(config, ["val/accuracy"])
        log.ended({"val/accuracy": 0.5}, success=False)
    with closing(TrialLog(local, third)) as log:
        log.began(config, ["val/accuracy"])

    rows = hparams_rows(local.local_path(STUDY.trials_dir), ["final/val/accuracy"])
    flat = {"model.width": 32.0, "model.norm": True, "optim.name": "sgd", "sizes": "[1, 2]"}
    assert rows == {
        "baseline/seed-0": (flat, {"final/val/accuracy": 0.75}, STATUS_SUCCESS),
        "no-mixup/seed-0": (flat, {"final/val/accuracy": 0.5}, STATUS_FAILURE),
        "no-mixup/seed-1": (flat, {}, STATUS_UNKNOWN),
    }


def test_what_the_thread_could_not_write_is_raised_by_flush(local: Storage, tmp_path: Path) -> None:
    log = TrialLog(local, TRIAL, loggers=())
    log.report({"report": 1, "step": "not a number"})
    with pytest.raises(ValueError, match="invalid literal"):
        log.flush()
    log.close()


def test_trial_paths_are_enough(local: Storage) -> None:
    with closing(TrialLog(local, TrialPaths("alone"))) as log:
        log.report(row(1))
    assert any("tfevents" in entry.name for entry in local.list("alone"))


def test_a_remote_trial_is_mirrored_for_tensorboard(storage: Storage, tmp_path: Path) -> None:
    log = run(storage, range(1, 3))
    assert mirror(Run(storage, STUDY), tmp_path / "logdir") > 0
    assert mirror(Run(storage, STUDY), tmp_path / "logdir") == 0
    log.scalars({"batch/loss": 1021.0}, 21)
    log.close()
    assert mirror(Run(storage, STUDY), tmp_path / "logdir") == 1
    expected = [(step, 1000.0 + step) for step in range(1, 22)]
    assert curve_as_served(tmp_path / "logdir" / "no-mixup" / "seed-3", "batch/loss") == expected


def test_what_a_failed_disk_left_as_trial_json_is_replaced(local: Storage) -> None:
    store = CheckpointStore(local, TRIAL)
    place = Path(local.local_path(TRIAL.trial_json))
    for leave in (lambda: (place / "inside").mkdir(parents=True), lambda: os.mkfifo(place)):
        leave()
        store.describe(state="done")
        assert json.loads(place.read_text()) == {"state": "done"}
        place.unlink()


def test_trial_json_is_updated_field_by_field(storage: Storage) -> None:
    store = CheckpointStore(storage, TRIAL)
    store.describe(cell="0" * 12, checkpoints={"best": ["step-00000010"]})
    store.describe(checkpoints={"best": ["step-00000020"]})
    found = json.loads(storage.read_text(TRIAL.trial_json))
    assert found == {"cell": "0" * 12, "checkpoints": {"best": ["step-00000020"]}}
