"""A study in threads of one process: whatever goes wrong, its record is that of an undisturbed one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scene import Scene

from orchestrator.engine.inprocess import DriverKilled, PlantedFault
from orchestrator.errors import ExitCode
from orchestrator.record.checkpoints import CheckpointStore
from orchestrator.record.metrictable import read_metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], list[tuple[int, float]]]:
    scene = Scene(tmp_path_factory.mktemp("undisturbed"))
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
    assert scene.run(PlantedFault(what, at=2, arm="level=high", seed=1), **room) is ExitCode.DONE
    assert scene.curves() == undisturbed
    assert set(scene.failures()) == {fault}
    attempts = {(row["arm"], row["seed"]): row["attempts"] for row in scene.cells()}
    assert attempts.pop(("level=high", 1)) == 2
    assert what == "node lost" or set(attempts.values()) == {1}


def test_a_rank_that_is_slow_holds_up_nobody_for_good(tmp_path: Path, undisturbed: dict[Any, Any]) -> None:
    scene = Scene(tmp_path, resources={"workers": 2})
    assert scene.run(PlantedFault("slow", at=2, rank=1, seconds=0.05, arm=None)) is ExitCode.DONE
    assert scene.curves() == undisturbed
    assert scene.failures() == []


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("arm", ["baseline", "level=low"])
def test_a_killed_driver_loses_nothing(
    tmp_path: Path, undisturbed: dict[Any, Any], arm: str, at: int
) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(DriverKilled):
        scene.run(PlantedFault("driver killed", at=at, arm=arm, seed=1), slots=2)
    assert scene.run(slots=2) is ExitCode.DONE
    assert scene.curves() == undisturbed
    assert {row["state"] for row in scene.cells()} == {"done"}


def test_a_cell_is_given_up_when_its_retries_are_used(tmp_path: Path) -> None:
    scene = Scene(tmp_path, failures={"max_retries": 1})
    always = [PlantedFault("worker killed", at=1, arm="level=low", seed=0, attempt=n) for n in (1, 2)]
    assert scene.run(*always) is ExitCode.FAILED
    (failed,) = [row for row in scene.cells() if row["state"] == "failed"]
    assert (failed["arm"], failed["attempts"]) == ("level=low", 2)


def test_a_trial_that_hangs_again_is_given_up_and_its_silence_counted_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path, failures={"max_retries": 1, "report_timeout": 5})
    silent = [PlantedFault("hang", at=3, arm="level=low", seed=0, attempt=n) for n in (1, 2)]
    assert scene.run(*silent) is ExitCode.FAILED
    (failed,) = [row for row in scene.cells() if row["state"] == "failed"]
    assert (failed["arm"], failed["cause"], failed["attempts"], failed["length"]) == (
        "level=low",
        "hang",
        2,
        2,
    )
    assert failed["reason"].startswith("no report for")
    assert [(event["cause"], event["again"]) for event in scene.events("failure")] == [
        ("hang", True),
        ("hang", False),
    ]


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
    killed = PlantedFault("worker killed", at=3, arm="level=low", seed=1)
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
    killed = PlantedFault("worker killed", at=2, arm="baseline")
    assert scene.run(killed, function=None, code_root=code_root, slots=2) is ExitCode.DONE
    from toy import Toy

    from orchestrator.training.local import run_local

    alone = run_local(Toy, {**config, "seed": 3}, max_length=3)
    rows = read_metrics(scene.storage, scene.paths.trial("baseline", 3))
    assert [row["val/loss"] for row in rows] == [row["val/loss"] for row in alone]
    assert [row["attempt"] for row in rows][-1] == 2
