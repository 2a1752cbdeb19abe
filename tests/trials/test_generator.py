"""The generator example: stages and their gate, who learns from which loss, exact resume."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.training.local import LocalSession, run_local
from orchestrator.training.loop import run_task
from orchestrator.training.session import TrialStopped
from trials.generator import DRAWN, IMAGE, STAGE, Draw, Generator, edges

BASE: dict[str, Any] = {
    "seed": 0,
    "data": {"batch_size": 32, "mirrored": False},
    "model": {"width": 32, "code": 4, "batchnorm": True},
    "loss": {"gate": 0.2, "adversarial": 0.1},
    "optim": {"name": "adamw", "lr": 5e-3, "schedule": "cosine"},
    "train": {"val_batch_every": 0},
}


def config(**changes: Any) -> dict[str, Any]:
    changed = copy.deepcopy(BASE)
    for name, value in changes.items():
        section, key = name.split("__")
        changed[section][key] = value
    return changed


def train(length: float = 3, **changes: Any) -> list[dict[str, Any]]:
    return run_local(Draw, config(**changes), max_length=length)


def batch(count: int = 8) -> dict[str, torch.Tensor]:
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return {IMAGE: images, "id": torch.arange(count)}


def gradients(gate: float) -> dict[str, float]:
    """Largest gradient of the three networks after one batch."""
    task = Draw(config(loss__gate=gate))
    model = task.build_model(task.config)
    task.loss(model(batch()), batch()).backward()
    sides: dict[str, float] = {}
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        side = name.partition(".")[0]
        sides[side] = max(sides.get(side, 0.0), float(weight.grad.abs().max()))
    return sides


@pytest.mark.slow
def test_the_stage_follows_the_gate_and_never_goes_back() -> None:
    stages = [row["val/stage"] for row in train(3)]
    assert stages[0] == 0
    assert stages[-1] == 1
    assert stages == sorted(stages)
    assert [row["val/stage"] for row in train(1, loss__gate=1.0)] == [1]
    assert [row["val/stage"] for row in train(1, loss__gate=0.0)] == [0]


def test_before_the_gate_there_is_the_l1_loss_alone() -> None:
    weights = [train(1, loss__gate=0.0, loss__adversarial=weight) for weight in (0.0, 5.0)]
    assert weights[0] == weights[1]
    assert gradients(gate=0.0)["critic"] == 0
    assert gradients(gate=0.0)["decoder"] > 0


def test_each_side_learns_from_its_own_loss() -> None:
    task = Draw(config(loss__gate=1.0))
    model = task.build_model(task.config)
    outputs = model(batch())
    outputs["fooled"].sum().backward(retain_graph=True)
    assert all(weight.grad is None for weight in model.critic.parameters())
    assert all(weight.grad is not None for weight in model.decoder.parameters())
    model.zero_grad()
    (outputs["fake"] + outputs["real"]).sum().backward()
    assert all(weight.grad is None for weight in model.decoder.parameters())
    assert gradients(gate=1.0)["critic"] > 0


def test_evaluation_does_not_move_the_gate() -> None:
    model = Generator(16, 4, batchnorm=True, gate=0.9).eval()
    model(batch())
    assert float(model.error) == 1
    model.train()
    for _ in range(6):
        outputs = model(batch())
    assert float(model.error) < 0.9
    assert outputs[STAGE].tolist() == [1] * 8
    assert outputs[DRAWN].shape == (8, 1, 8, 8)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [20, 70])  # before and after the gate, which opens at about step 45
def test_resumes_exactly_in_either_stage(stop: int, tmp_path: Path) -> None:
    changed = config() | {"train": {"report_every": 10, "val_batch_every": 0}}
    whole = run_local(Draw, changed, max_length=2)
    session = LocalSession(
        config=changed,
        max_length=2,
        trial_dir=str(tmp_path),
        checkpoints=True,
        stop_when=lambda metrics: metrics["step"] == stop,
    )
    with pytest.raises(TrialStopped):
        run_task(Draw, session)
    resumed = LocalSession(
        config=changed, max_length=2, trial_dir=str(tmp_path), resume_from=session.checkpoint_path(stop)
    )
    run_task(Draw, resumed)
    assert session.reports + resumed.reports == whole
    assert [whole[0]["val/stage"], whole[-1]["val/stage"]] == [0, 1]
    assert whole[stop // 10 - 1]["val/stage"] == (stop > 50)


@pytest.mark.long
@pytest.mark.slow
def test_every_component_changes_the_curve() -> None:
    arms: list[dict[str, Any]] = [
        {},
        {"loss__gate": 1.0},
        {"loss__adversarial": 0.0},
        {"model__batchnorm": False},
        {"model__code": 8},
        {"optim__schedule": "constant"},
        {"data__mirrored": True},
    ]
    errors = [train(2, **arm)[-1]["val/l1"] for arm in arms]
    assert len(set(errors)) == len(arms)


def test_edges_of_small_pictures() -> None:
    pictures = torch.zeros(2, 1, 8, 8)
    pictures[1, 0, 3, 3] = 1.0
    assert edges(pictures).tolist() == [0, 4]


@pytest.mark.long
@pytest.mark.slow
def test_two_ranks_enter_the_second_stage_together(tmp_path: Path) -> None:
    script = Path(__file__).with_name("generator_ranks.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path / "store"), str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, errors = rank.communicate(timeout=120)
            assert rank.returncode == 0, errors
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert first == second
    stages = [report["val/stage"] for report in first["reports"]]
    assert (stages[0], stages[-1]) == (0.0, 1.0)
    assert first["resumed"] == first["reports"][3:]
