"""Pictures, histograms and curves in TensorBoard's files, and the rows that monitors write."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.pr_curve.metadata import PLUGIN_NAME
from tensorboard.util import tensor_util

from orchestrator.record.checkpoints import Manifest
from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import OBSERVATIONS, read_table
from orchestrator.record.storage import Storage
from orchestrator.record.triallog import ResumePoint, TrialLog

TRIAL = StudyPaths.of("s").trial("baseline", 0)


def events(storage: Storage, folder: Path) -> Any:
    storage.copy_out(TRIAL.root, folder)
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "tensors": 0})
    found.Reload()
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_comes_back_as_it_was(storage: Storage, tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    with closing(TrialLog(storage, TRIAL)) as log:
        log.image("samples/worst", pixels, 3)
        log.image("samples/worst", lambda: pixels[::-1], 6)
    first, second = events(storage, tmp_path / "mirror").Images("samples/worst")
    assert [(p.step, p.width, p.height) for p in (first, second)] == [(3, 7, 5), (6, 7, 5)]
    for point, expected in ((first, pixels), (second, pixels[::-1])):
        got = np.asarray(Image.open(io.BytesIO(point.encoded_image_string))).reshape(5, 7, channels)
        assert (got == expected).all()


def test_histograms_leave_out_what_is_not_finite(storage: Storage, tmp_path: Path) -> None:
    with closing(TrialLog(storage, TRIAL)) as log:
        log.histogram("gradients/a", np.array([1.0, 2.0, np.nan, 4.0, np.inf]), 1)
        log.histogram("gradients/a", np.array([np.nan]), 2)
        log.histogram("gradients/a", np.zeros(0), 3)
    (point,) = events(storage, tmp_path / "mirror").Histograms("gradients/a")
    values = point.histogram_value
    assert (point.step, values.num, values.min, values.max, values.sum) == (1, 3, 1, 4, 7)
    assert sum(values.bucket) == 3


def test_precision_and_recall_follow_from_the_counts(storage: Storage, tmp_path: Path) -> None:
    counts = {
        "tp": np.array([4.0, 3.0, 0.0]), "fp": np.array([6.0, 1.0, 0.0]),
        "tn": np.array([0.0, 5.0, 6.0]), "fn": np.array([0.0, 1.0, 4.0]),
    }  # fmt: skip
    with closing(TrialLog(storage, TRIAL)) as log:
        log.pr_curve("curves/a", counts, 9)
    found = events(storage, tmp_path / "mirror")
    (point,) = found.Tensors("curves/a")
    table = tensor_util.make_ndarray(point.tensor_proto)
    assert point.step == 9
    assert table[:4].tolist() == [counts[name].tolist() for name in ("tp", "fp", "tn", "fn")]
    assert table[4].tolist() == pytest.approx([0.4, 0.75, 0.0])
    assert table[5].tolist() == pytest.approx([1.0, 0.75, 0.0])
    assert found.SummaryMetadata("curves/a").plugin_data.plugin_name == PLUGIN_NAME


def test_rows_are_readable_while_running_and_after(storage: Storage) -> None:
    with closing(TrialLog(storage, TRIAL)) as log:
        log.observe("best_worst", [{"id": 3, "loss": np.float32(0.5)}, {"id": 4, "loss": 0.25}], 10)
        log.observe("confusion", [{"target": "a", "count": 2}], 10)
        log.observe("confusion", [], 20)
        log.flush()
        worst = [
            {"step": 10, "monitor": "best_worst", "id": 3, "loss": 0.5},
            {"step": 10, "monitor": "best_worst", "id": 4, "loss": 0.25},
        ]
        assert read_table(storage, TRIAL, OBSERVATIONS)[:2] == worst
        log.finish()
    assert read_table(storage, TRIAL, OBSERVATIONS)[:2] == worst
    assert len(read_table(storage, TRIAL, OBSERVATIONS)) == 3
    assert storage.exists(TRIAL.table("observations").parquet)
    assert storage.grown(TRIAL.table("observations").jsonl) == []


def test_a_trial_without_observations_has_no_file_for_them(storage: Storage) -> None:
    TrialLog(storage, TRIAL).finish()
    assert read_table(storage, TRIAL, OBSERVATIONS) == []
    assert not storage.exists(TRIAL.table("observations").parquet)


@pytest.mark.parametrize("ended", ["close", "finish"])
def test_a_resumed_trial_drops_what_it_sees_again(storage: Storage, ended: str) -> None:
    log = TrialLog(storage, TRIAL)
    for step in (10, 20, 30):
        log.observe("mine", [{"value": step}], step)
    getattr(log, ended)()
    manifest = Manifest(step=20, epoch=2, length=2, report=2, time_s=1.0, attempt=1)
    with closing(TrialLog(storage, TRIAL, 2, ResumePoint(manifest.report, manifest.step))) as again:
        again.observe("mine", [{"value": -30}], 30)
    assert [row["value"] for row in read_table(storage, TRIAL, OBSERVATIONS)] == [10, 20, -30]
