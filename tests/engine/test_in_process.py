"""A study in threads of one process: whatever goes wrong, its record is that of an undisturbed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scene import Scene

from orchestrator.engine.attempts import Staging, stage
from orchestrator.engine.attempts._staging import remove_abandoned
from orchestrator.engine.inprocess import DriverKilled, PlantedFault, get_checkpoint, report, session
from orchestrator.errors import ExitCode
from orchestrator.record.checkpoints import CheckpointStore
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.trees import CheckpointRefused

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


def _keeps(here: Any, make: Any) -> None:
    """Report three epochs, each with a checkpoint that `make(folder, rank, epoch)` fills."""
    folder = Path(here.storage.local_path(here.paths.root)) / f"mine-{here.rank}"
    folder.mkdir(exist_ok=True)
    for epoch in range(here.index + 1, 4):
        make(folder, here.rank, epoch)
        report({"epoch": epoch, "loss": 1.0 / epoch}, folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_checkpoint_that_cannot_be_kept_fails_its_trial_by_name(tmp_path: Path, workers: int) -> None:
    def make(folder: Path, rank: int, epoch: int) -> None:
        if epoch == 2 and rank == workers - 1:
            (folder / "gone").symlink_to("nowhere")

    scene = Scene(tmp_path, components={}, seeds=[0], resources={"workers": workers})
    assert scene.run(function=lambda config: _keeps(session(), make)) is ExitCode.FAILED
    (row,) = scene.cells()
    assert (row["state"], row["cause"], row["attempts"]) == ("failed", "user", 1)
    assert "'gone' is a link to 'nowhere', which is not there" in row["reason"]


@pytest.mark.parametrize("same", [True, False])
def test_ranks_that_store_one_name_agree_or_are_refused(tmp_path: Path, same: bool) -> None:
    def make(folder: Path, rank: int, epoch: int) -> None:
        (folder / "state.pt").write_text(f"epoch {epoch} {0 if same else rank}")

    scene = Scene(tmp_path, components={}, seeds=[0], resources={"workers": 2})
    code = scene.run(function=lambda config: _keeps(session(), make))
    (row,) = scene.cells()
    if same:
        assert code is ExitCode.DONE
        assert CheckpointStore(scene.storage, scene.paths.trial("baseline", 0)).latest() is not None
    else:
        assert (code, row["state"], row["cause"]) == (ExitCode.FAILED, "failed", "user")
        assert "'state.pt' differs between ranks 0 and 1" in row["reason"]


def test_a_checkpoint_that_cannot_be_loaded_gives_way_to_the_one_before(tmp_path: Path) -> None:
    begun: list[int] = []

    def train(config: dict[str, Any]) -> None:
        here = session()
        with get_checkpoint() as folder:
            if folder is not None and "2" in (folder / "state").read_text():
                raise ValueError(
                    "Weights only load failed.\n\nset weights_only=False to\nload it all the same"
                )
        begun.append(here.index)
        _keeps(here, lambda folder, _, epoch: (folder / "state").write_text(f"{epoch}"))

    scene = Scene(tmp_path, components={}, seeds=[0], stopping={"max": 3, "unit": "epoch"})
    scene.change(checkpoint={"keep_latest": 3})
    killed = PlantedFault("worker killed", at=3, arm="baseline", seed=0)
    assert scene.run(killed, function=train) is ExitCode.DONE
    assert scene.failures() == ["worker killed", "checkpoint"]
    assert begun == [0, 1]
    assert [epoch for epoch, _ in scene.curves()["baseline", 0]] == [1, 2, 3]
    message = scene.events("failure")[1]["message"]
    assert message.startswith(
        "checkpoint step-00000002 could not be loaded and is not used again: ValueError"
    )
    assert "runs whatever code is in the file" in message
    assert "load it all the same" not in message


def test_staging_directories_go_with_whoever_made_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import os, orchestrator.engine.attempts as a; a.Staging(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "TMPDIR": str(tmp_path)})
    (left,) = tmp_path.iterdir()
    mine = Staging()
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == [mine.path]
    assert left != mine.path
    mine.remove()
    source = tmp_path / "source"
    source.mkdir()
    (source / "pipe").symlink_to("nowhere")
    for move in (True, False):
        with pytest.raises(CheckpointRefused):
            stage(source, move)
    assert list(tmp_path.iterdir()) == [source]
