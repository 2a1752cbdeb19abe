"""Curves for Weights & Biases and MLflow: real ones, offline; and services that fail or hang."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.record.layout import TrialPaths
from orchestrator.record.loggers import TrackedTrial
from orchestrator.record.storage import Storage
from orchestrator.record.trackers import process
from orchestrator.record.trackers.process import Trackers, run_id
from orchestrator.record.triallog import ResumePoint, TrialLog

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow")
SECRET = "a" * 40
CONFIG = {"model": {"width": 8}, "seed": 3}


def trial(folder: Path) -> TrackedTrial:
    name = "no-mixup/seed-3"
    return TrackedTrial(
        run_id("0123456789ab", str(folder), 17.5), "s", name, "no-mixup", 3, CONFIG, str(folder)
    )


def attempt(
    trackers: Trackers, folder: Path, state: str, reports: range, resume: int | None = None
) -> list[str]:
    """One attempt of a trial through a real log; returns the warnings."""
    said: list[str] = []
    trackers.open(trial(folder), said.append)
    point = None if resume is None else ResumePoint(resume, resume * 10)
    storage = Storage.open(str(folder))
    with closing(
        TrialLog(storage, TrialPaths("t"), 1 if resume is None else 2, point, trackers=trackers)
    ) as log:
        for report in reports:
            row = {"report": report, "step": report * 10, "epoch": report, "time_s": 0.1, "attempt": 1}
            log.report({**row, "val/accuracy": report / 10})
    trackers.close(state, {"val/accuracy": reports[-1] / 10})
    return said


def offline_runs(folder: Path) -> list[tuple[dict[str, Any], dict[int, float]]]:
    """What `wandb sync` would send, by directory: the run as it was announced, and its curve."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        run: dict[str, Any] = {}
        curve: dict[int, float] = {}
        for data in stored(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                run |= {"id": record.run.run_id, "group": record.run.run_group, "project": record.run.project}
                run |= {"name": record.run.display_name, "tags": list(record.run.tags), "config": config}
            items = {(i.key or "/".join(i.nested_key)): i.value_json for i in record.history.item}
            if "val/accuracy" in items:
                curve[record.history.step.num] = json.loads(items["val/accuracy"])
            summary = {item.key: item.value_json for item in record.summary.update}
            if "state" in summary:
                run["state"] = json.loads(summary["state"])
            if record.HasField("exit"):
                run["exit_code"] = record.exit.exit_code
        found.append((run, curve))
    return found


def stored(raw: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format, blocks of 32 KiB, after a header of 7 bytes."""
    place, whole = 7, b""
    while place + 7 <= len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", raw[place + 4 : place + 7])
        whole += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


@needs_wandb
@pytest.mark.slow
def test_wandb_offline_has_config_tags_curve_and_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    trackers = Trackers(("wandb",))
    assert attempt(trackers, tmp_path, "failed", range(1, 4)) == []
    assert attempt(trackers, tmp_path, "done", range(3, 6), resume=2) == []
    trackers.end()
    (first, early), (second, late) = offline_runs(tmp_path)
    assert first["id"] == second["id"] == trial(tmp_path).run_id
    assert (first["project"], first["group"], first["name"]) == ("s", "no-mixup", "no-mixup/seed-3")
    assert set(first["tags"]) == {"study:s", "arm:no-mixup", "seed:3"}
    assert first["config"]["model"] == {"width": 8}
    assert early == {10: 0.1, 20: 0.2, 30: 0.3}
    assert late == {30: 0.3, 40: 0.4, 50: 0.5}
    assert (first["exit_code"], second["exit_code"], second["state"]) == (1, 0, "done")
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in text for text in texts)


@pytest.mark.long
@needs_mlflow
@pytest.mark.slow
def test_mlflow_continues_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for state, reports, resume in (("failed", range(1, 4), None), ("done", range(3, 6), 2)):
        trackers = Trackers(("mlflow",))  # another worker each time
        assert attempt(trackers, tmp_path, state, reports, resume) == []
        trackers.end()
    from mlflow import MlflowClient

    warnings.simplefilter("ignore")  # MLflow calls what SQLAlchemy is about to drop; pytest puts it back
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("s").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model.width": "8", "seed": "3"}
    assert run.data.tags.items() >= {"arm": "no-mixup", "seed": "3", "study": "s", "state": "done"}.items()
    history = client.get_metric_history(run.info.run_id, "val/accuracy")
    assert {m.step: m.value for m in history} == {10: 0.1, 20: 0.2, 30: 0.3, 40: 0.4, 50: 0.5}
    assert len(history) == 5


@needs_mlflow
@pytest.mark.long
@pytest.mark.slow
def test_mlflow_takes_what_it_can_and_its_runs_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said: list[str] = []
    trackers = Trackers(("mlflow",))
    started = trial(tmp_path)
    config = {"opt@": 1, "long": "x" * 10_000, "lr": 0.1}
    trackers.open(replace(started, config=config), said.append)
    for step in range(3):
        trackers.scalars({"acc@1": 0.5, "loss": 1.0 / (step + 1), "": 2.0}, step, 0.0)
    trackers.close("done", {"acc@1": 0.5, "loss": 0.3})
    trackers.end()
    from mlflow import MlflowClient

    warnings.simplefilter("ignore")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("s").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["state"] == "done"
    assert run.data.params["lr"] == "0.1"
    assert run.data.params["opt_"] == "1"
    for name in ("loss", "acc_1"):
        assert len(client.get_metric_history(run.info.run_id, name)) == 3
    assert sum("'acc@1' goes by 'acc_1' there" in text for text in said) == 1, said


@pytest.mark.long
@needs_wandb
@needs_mlflow
@pytest.mark.slow
def test_services_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    trackers = Trackers(("wandb", "mlflow"))
    first, second, third = (attempt(trackers, tmp_path, "done", range(1, 4)) for _ in range(3))
    trackers.end()
    assert [text.split(":")[0] for text in first] == ["logger wandb", "logger mlflow"]
    assert sum("not tried again here" in text for text in second) == 2
    assert third == []
    assert not any(SECRET in text for text in first + second)


@pytest.mark.slow
def test_a_service_that_fails_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    program = "import sys, json\nfor line in sys.stdin:\n"
    program += " if 'scalars' in line: print(json.dumps({'warning': 'mlflow: no network'}), flush=True)\n"
    program += " if 'close' in line: print(json.dumps({'closed': True}), flush=True)\n"
    trackers = Trackers(("mlflow",), (sys.executable, "-c", program))
    for _ in range(2):  # and it is tried again with the next trial
        assert attempt(trackers, tmp_path, "done", range(1, 4)) == ["logger mlflow: no network"]
    trackers.end()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os._exit(3)", "has ended"),
        ("import signal; signal.pause()", "no answer within 0 s"),
    ],
)
def test_a_process_that_dies_or_hangs_ends_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(process, "CLOSE_S", 0.3 if "pause" in program else 10.0)
    trackers = Trackers(("wandb",), (sys.executable, "-c", program))
    assert any(words in text for text in attempt(trackers, tmp_path, "done", range(1, 4)))
    attempt(trackers, tmp_path, "done", range(1, 4))
    trackers.end()
    assert (tmp_path / "t" / "metrics.jsonl").read_text().count("\n") == 3


@pytest.mark.slow
def test_a_slow_service_loses_points_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MOST_WAITING", 4)
    monkeypatch.setattr(process, "CLOSE_S", 0.3)
    said: list[str] = []
    trackers = Trackers(("wandb",), (sys.executable, "-c", "import signal; signal.pause()"))
    trackers.open(trial(tmp_path), said.append)
    for step in range(50_000):  # more than the pipe holds
        trackers.scalars({"loss": 1.0}, step, 0.0)
    assert said == ["logger slower than the trial: curves are incomplete there"]
    trackers.close("done", {})
    trackers.end()


def test_its_process_outlives_the_directory_of_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import json, os, sys\nfor line in sys.stdin:\n"
    program += " if 'open' in line: print(json.dumps({'warning': f'works in {os.getcwd()}'}), flush=True)\n"
    program += " if 'close' in line: print(json.dumps({'closed': True}), flush=True)\n"
    monkeypatch.chdir(tmp_path)
    trackers = Trackers(("wandb",), (sys.executable, "-c", program))
    for name in "ab":
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert attempt(trackers, tmp_path, "done", range(1, 3)) == [f"logger works in {tmp_path}"]
        monkeypatch.chdir(tmp_path)
        (tmp_path / name).rmdir()
    trackers.end()


def test_no_names_start_nothing(tmp_path: Path) -> None:
    refuse: Callable[[str], None] = pytest.fail  # type: ignore[assignment]
    trackers = Trackers((), (str(tmp_path / "missing"),))
    trackers.open(trial(tmp_path), refuse)
    trackers.scalars({"loss": 1.0}, 1, 0.0)
    trackers.close("done", {})
    trackers.end()
    assert list(tmp_path.iterdir()) == []


def test_a_study_begun_anew_has_other_runs(tmp_path: Path) -> None:
    assert run_id("cell", "a", 1.0) == run_id("cell", "a", 1.0)
    assert len({run_id("cell", "a", 1.0), run_id("cell", "a", 2.0), run_id("cell", "b", 1.0)}) == 3
