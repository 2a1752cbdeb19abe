"""A study in threads of one process: whatever goes wrong, its record is that of an undisturbed one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrator.engine.inprocess import (
    DriverKilled,
    Fault,
    Faults,
    get_checkpoint,
    report,
    run_in_process,
    session,
)
from orchestrator.errors import ExitCode
from orchestrator.record.checkpoints import CheckpointStore
from orchestrator.record.journal import read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec


def train(config: dict[str, Any]) -> None:
    """A number that follows from config, seed and epoch; every rank keeps its own part."""
    here = session()
    state, first = config["seed"] + 1.0, 1
    with get_checkpoint() as folder:
        if folder is not None:
            saved = json.loads((folder / f"state-{here.rank}.json").read_text())
            state, first = saved["state"], saved["epoch"] + 1
    for epoch in range(first, int(config["max_length"]) + 1):
        state = (state * 1.7 + config["level"] * 0.31) % 1.0
        folder = Path(here.storage.local_path(here.paths.root)) / f"mine-{here.rank}"
        folder.mkdir(exist_ok=True)
        (folder / f"state-{here.rank}.json").write_text(json.dumps({"state": state, "epoch": epoch}))
        report({"epoch": epoch, "loss": config["level"] + state / (1 + epoch)}, folder)


class Scene:
    """One study, its record, and as many drivers as it takes."""

    def __init__(self, root: Path, **changes: Any) -> None:
        data: dict[str, Any] = {
            "name": "threads",
            "entrypoint": "trial:train",
            "metric": {"name": "loss", "mode": "min"},
            "baseline": {"level": 1.0},
            "components": {"level": {"swap": {"high": {"level": 2.0}, "low": {"level": 0.5}}}},
            "seeds": 2,
            "stopping": {"max": 3, "unit": "epoch"},
            "failures": {"max_retries": 2, "report_timeout": 5},
            "loggers": [],
        }
        self.spec = StudySpec.model_validate({**data, **changes})
        self.storage, self.plan = Storage.open(root), make_plan(self.spec)
        self.paths = StudyPaths.of(self.spec.name)

    def run(self, *faults: Fault, function: Callable[..., Any] = train, **options: Any) -> ExitCode:
        planted = Faults(*faults)
        with closing(StudyRecord.open(self.storage, self.spec, self.plan, Start("code"))) as record:
            outcome = run_in_process(
                self.spec, record, function, faults=planted, clock=planted.clock, **options
            )
        return outcome.exit_code

    def cells(self) -> list[dict[str, Any]]:
        """The rows of `results.parquet`."""
        rows: list[dict[str, Any]] = pq.read_table(
            self.storage.local_path(self.paths.results_parquet)
        ).to_pylist()
        assert len(rows) == len(self.plan.cells)
        return rows

    def failures(self) -> list[str]:
        lines = [line.plain() for line in read_journal(self.storage, self.paths.journal).lines]
        return [str(line["fault"]) for line in lines if line["event"] == "failure"]

    def curves(self) -> dict[tuple[str, int], list[tuple[int, float]]]:
        return {
            (cell.arm, cell.seed): [
                (row["epoch"], row["loss"])
                for row in read_metrics(self.storage, self.paths.trial(cell.arm, cell.seed))
            ]
            for cell in self.plan.cells
        }


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[tuple[str, int], list[tuple[int, float]]]:
    scene = Scene(tmp_path / "undisturbed")
    assert scene.run(slots=2) is ExitCode.DONE
    curves = scene.curves()
    assert {len(curve) for curve in curves.values()} == {3}
    return curves


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("worker killed", "worker killed"),
        ("group lost", "unknown"),
        ("hang", "hang"),
        ("slot lost", "unknown"),
        ("node lost", "node lost"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_lost_goes_on_from_its_checkpoint(
    tmp_path: Path, undisturbed: dict[Any, Any], what: Any, fault: str, workers: int
) -> None:
    scene = Scene(tmp_path, resources={"workers": workers})
    room = {} if what == "hang" else {"slots": 2, "nodes": 2}  # the clock runs on for all while one hangs
    assert scene.run(Fault(what, at=2, arm="level=high", seed=1), **room) is ExitCode.DONE
    assert scene.curves() == undisturbed
    assert set(scene.failures()) == {fault}
    attempts = {(row["arm"], row["seed"]): row["attempts"] for row in scene.cells()}
    assert attempts.pop(("level=high", 1)) == 2
    assert what == "node lost" or set(attempts.values()) == {1}


def test_a_rank_that_is_slow_holds_up_nobody_for_good(tmp_path: Path, undisturbed: dict[Any, Any]) -> None:
    scene = Scene(tmp_path, resources={"workers": 2})
    assert scene.run(Fault("slow", at=2, rank=1, seconds=0.05, arm=None)) is ExitCode.DONE
    assert scene.curves() == undisturbed
    assert scene.failures() == []


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("arm", ["baseline", "level=low"])
def test_a_killed_driver_loses_nothing(
    tmp_path: Path, undisturbed: dict[Any, Any], arm: str, at: int
) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(DriverKilled):
        scene.run(Fault("driver killed", at=at, arm=arm, seed=1), slots=2)
    assert scene.run(slots=2) is ExitCode.DONE
    assert scene.curves() == undisturbed
    assert {row["state"] for row in scene.cells()} == {"done"}


def test_a_cell_is_given_up_when_its_retries_are_used(tmp_path: Path) -> None:
    scene = Scene(tmp_path, failures={"max_retries": 1})
    always = [Fault("worker killed", at=1, arm="level=low", seed=0, attempt=n) for n in (1, 2)]
    assert scene.run(*always) is ExitCode.FAILED
    (failed,) = [row for row in scene.cells() if row["state"] == "failed"]
    assert (failed["arm"], failed["attempts"]) == ("level=low", 2)


def test_a_study_of_plain_functions_needs_neither_ray_nor_torch() -> None:
    code = "import sys, orchestrator.engine.inprocess; sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_checkpoints_at_named_lengths_are_made_and_stay(tmp_path: Path) -> None:
    scene = Scene(tmp_path, checkpoint={"every": 100, "at": [2], "keep_best": 0, "keep_latest": 1})
    assert scene.run(slots=2) is ExitCode.DONE
    for cell in scene.plan.cells:
        store = CheckpointStore(scene.storage, scene.paths.trial(cell.arm, cell.seed))
        assert [kept.length for kept in store.complete()] == [2, 3]


RAY_FUNCTION = """\
import json
import tempfile
from pathlib import Path

import ray.train
import ray.train.collective


def train(config):
    first = 1
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            first = json.loads((Path(folder) / "state.json").read_text()) + 1
    assert ray.train.get_context().get_world_rank() in (0, 1)
    assert ray.train.collective.broadcast_from_rank_zero(first) == first
    for epoch in range(first, config["max_length"] + 1):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps(epoch))
            loss = (config["level"] + config["seed"]) / epoch
            ray.train.report({"epoch": epoch, "loss": loss}, ray.train.Checkpoint.from_directory(folder))
"""


def test_a_ray_train_function_runs_unchanged(tmp_path: Path) -> None:
    (tmp_path / "plain_ray_trial.py").write_text(RAY_FUNCTION)
    scene = Scene(tmp_path / "runs", entrypoint="plain_ray_trial:train", resources={"workers": 2})
    killed = Fault("worker killed", at=3, arm="level=low", seed=1)
    assert scene.run(killed, function=None, code_root=tmp_path, slots=2) is ExitCode.DONE
    assert scene.failures() == ["worker killed"]
    assert scene.curves()["level=low", 1] == [(1, 1.5), (2, 0.75), (3, 0.5)]


def test_a_task_has_the_curves_that_it_has_alone(tmp_path: Path) -> None:
    code_root = Path(__file__).parents[1] / "training"
    config: dict[str, Any] = {"data": {"batch_size": 8}, "optim": {"name": "sgd", "lr": 0.05}}
    scene = Scene(
        tmp_path,
        entrypoint="toy:Toy",
        baseline=config,
        components={"lr": {"swap": {"low": {"optim.lr": 0.01}}}},
        seeds=[3],
        metric={"name": "val/loss", "mode": "min"},
        monitor=[],
    )
    killed = Fault("worker killed", at=2, arm="baseline")
    assert scene.run(killed, function=None, code_root=code_root, slots=2) is ExitCode.DONE
    from toy import Toy

    from orchestrator.training.local import run_local

    alone = run_local(Toy, {**config, "seed": 3}, max_length=3)
    rows = read_metrics(scene.storage, scene.paths.trial("baseline", 3))
    assert [row["val/loss"] for row in rows] == [row["val/loss"] for row in alone]
    assert [row["attempt"] for row in rows][-1] == 2
