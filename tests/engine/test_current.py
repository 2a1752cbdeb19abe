"""`orchestrator.report`, `trial_dir` and `config`: in a command, in a worker, and by hand."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene import Scene

import orchestrator
from orchestrator.current import CONFIG, REPORTS, TRIAL_DIR, scores_folder
from orchestrator.engine.attempts import OfferedScores
from orchestrator.engine.command.readings import readings_of, reports_file
from orchestrator.engine.inprocess import PlantedFault, get_checkpoint, session
from orchestrator.errors import ExitCode
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.scores import as_scores, read_scores, unpacked
from orchestrator.study.spec import MetricSpec

SCRIPT = """
import sys, orchestrator
from pathlib import Path
lr = orchestrator.config().get("lr", 0.1)
out = orchestrator.trial_dir() / "last.txt"
for epoch in range(1, 3):
    out.write_text(str(epoch))
    orchestrator.report({"epoch": epoch, "loss": lr / epoch}, checkpoint=out)
heavy = {"ray", "torch", "numpy", "pydantic", "yaml"} & set(sys.modules)
assert not heavy, heavy
"""


def script(folder: Path, **environment: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(orchestrator.__file__).parents[1]), **environment}
    command = [sys.executable, "-S", "-c", SCRIPT]  # without site: nothing else imports anything
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.mark.slow
def test_a_command_reports_with_neither_ray_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"lr": 0.5}))
    readings = readings_of(None, tmp_path, "loss", "epoch")
    told = {
        CONFIG: str(tmp_path / "config.json"),
        REPORTS: str(reports_file(tmp_path)),
        TRIAL_DIR: str(tmp_path),
    }
    assert script(tmp_path, **told) == ""
    assert script(tmp_path, **told, RANK="1") == ""  # another process of the same command
    first, second = readings.close()
    assert [first, second] == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    kept = [report.checkpoint for report in (first, second)]  # type: ignore[attr-defined]
    assert [(folder / "last.txt").read_text() for folder in kept] == ["1", "2"]


def test_the_script_runs_alone_too(tmp_path: Path) -> None:
    lines = script(tmp_path).splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 0.05}]
    assert (tmp_path / "last.txt").read_text() == "2"


def test_values_that_are_reported_from_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPORTS, str(reports_file(tmp_path)))
    readings = readings_of(None, tmp_path, "loss", "report")
    orchestrator.report({"loss": np.float32(0.5), "list": np.arange(2), "nan": math.nan, "at": tmp_path})
    (report,) = readings.poll()
    assert math.isnan(report.pop("nan"))
    assert report == {"loss": 0.5, "list": [0, 1], "at": str(tmp_path)}
    with pytest.raises(TypeError, match="a dict of names and numbers, not float"):
        orchestrator.report(0.5)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        orchestrator.report({"loss": 1}, checkpoint=tmp_path / "none")
    assert readings.close() == []


@pytest.mark.slow
def test_a_tensor_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # takes seconds: with the slow ones

    monkeypatch.setenv(REPORTS, str(reports_file(tmp_path)))
    with pytest.raises(TypeError, match=r"torch tensor; report \.item\(\)"):
        orchestrator.report({"loss": torch.ones(())})


@pytest.mark.slow
def test_a_function_in_a_worker(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def train(config: dict[str, Any]) -> None:
        (tmp_path / "state.json").write_text("{}")
        assert orchestrator.config() == config
        assert orchestrator.trial_dir().is_dir()
        for epoch in range(1, 4):
            here = threading.Thread(target=lambda: seen.append(orchestrator.config()))
            here.start()
            here.join()
            orchestrator.report(
                {"epoch": epoch, "loss": config["level"] + config["seed"]}, tmp_path / "state.json"
            )

    scene = Scene(tmp_path, resources={"max_parallel": 1})
    assert scene.run(function=train) == ExitCode.DONE
    assert {row["level"] for row in seen} == {0.5, 1.0, 2.0}
    checkpoints = Path(scene.storage.path(scene.paths.trial("baseline", 0).checkpoints_dir))
    assert list(checkpoints.glob("*/state.json"))


def test_scores_of_a_command_go_with_the_report_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REPORTS, str(reports_file(tmp_path)))
    readings = readings_of(None, tmp_path, "loss", "report")
    for value in (0.25, 0.5):
        orchestrator.report_scores([1, 2], [value, value])
    orchestrator.report({"loss": 0.5})
    orchestrator.report_scores(["a"], [1.0])  # behind the last report: it waits
    (report,) = readings.close()
    assert unpacked(report.scores.read_bytes()).mean == 0.5  # type: ignore[attr-defined]
    assert len(list(scores_folder(reports_file(tmp_path)).iterdir())) == 2
    with pytest.raises(ValueError, match=r"orchestrator\.report_scores: 2 ids and 1 scores"):
        orchestrator.report_scores([1, 2], [0.5])


@pytest.mark.slow
def test_a_function_in_a_worker_hands_over_scores(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for epoch in range(1, 4):
            loss = config["level"] + config["seed"] / epoch
            orchestrator.report_scores(range(4), [loss - 1, loss, loss, loss + 1])
            orchestrator.report({"epoch": epoch, "loss": loss})

    scene = Scene(tmp_path, resources={"max_parallel": 1})
    assert scene.run(function=train) == ExitCode.DONE
    trial = scene.paths.trial("baseline", 1)
    found = read_scores(scene.storage, trial)
    assert found is not None
    last = [row["loss"] for row in read_metrics(scene.storage, trial)][-1]
    assert found.mean == pytest.approx(last)


@pytest.mark.slow
def test_scores_outlive_the_worker_that_handed_them_over(tmp_path: Path) -> None:
    """Those of the best report, which the attempt after a crash does not come to again."""

    def train(config: dict[str, Any]) -> None:
        mine = Path(session().storage.local_path(session().paths.root)) / "mine"
        mine.mkdir(exist_ok=True)
        with get_checkpoint() as folder:
            first = 1 if folder is None else int((folder / "epoch").read_text()) + 1
        for epoch in range(first, 4):
            loss = config["level"] + config["seed"] + abs(epoch - 2)
            orchestrator.report_scores([1, 2], [loss - 0.5, loss + 0.5])
            (mine / "epoch").write_text(str(epoch))
            orchestrator.report({"epoch": epoch, "loss": loss}, mine)

    metric = {"name": "loss", "mode": "min", "at": "best"}
    scene = Scene(tmp_path, metric=metric, checkpoint={"every": 1}, resources={"max_parallel": 1})
    killed = PlantedFault("worker killed", at=3, arm="baseline", seed=0)
    assert scene.run(killed, function=train) == ExitCode.DONE
    assert scene.failures() == ["worker killed"]
    trial = scene.paths.trial("baseline", 0)
    assert [row["attempt"] for row in read_metrics(scene.storage, trial)] == [1, 1, 2]
    found = read_scores(scene.storage, trial)
    assert found is not None
    assert found.mean == 1.0
    left = Path(scene.storage.path(trial.checkpoints_dir)).glob("*")
    assert {path.name.partition(".")[0] for path in left} == {"step-00000002", "step-00000003"}


@pytest.mark.parametrize("at", ["last", "best"])
def test_a_trial_that_was_complete_when_it_was_cut_off_has_its_scores(at: str) -> None:
    offered = OfferedScores()
    offered.resume(as_scores([1], [2.0]))
    found = offered.kept(MetricSpec.model_validate({"name": "loss", "mode": "min", "at": at}))
    assert found is not None


@pytest.mark.parametrize(("at", "kept"), [("last", 3.0), ("best", 2.0)])
def test_the_scores_of_the_report_that_counts_are_kept(at: str, kept: float) -> None:
    offered = OfferedScores()
    for value, counts in ((1.0, True), (2.0, True), (3.0, at == "last")):
        offered.offer(as_scores([1], [value]))
        offered.reported(counts=counts)
    found = offered.kept(MetricSpec.model_validate({"name": "loss", "mode": "min", "at": at}))
    assert found is not None
    assert found.mean == kept


def test_the_best_report_without_scores_has_none() -> None:
    offered = OfferedScores()
    offered.offer(as_scores([1], [1.0]))
    offered.reported(counts=True)
    offered.reported(counts=True)  # a better one
    assert offered.kept(MetricSpec.model_validate({"name": "loss", "mode": "min", "at": "best"})) is None


def test_a_trial_that_is_over_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert orchestrator.trial_dir() == tmp_path
    assert orchestrator.config() == {}
