"""The digits example: learns, resumes exactly, shares what can be shared, starts quickly."""

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
from trials.digits import Digits, load_scans

BASE: dict[str, Any] = {
    "seed": 0,
    "model": {"width": 16, "batchnorm": True, "dropout": 0.1},
    "data": {"batch_size": 64, "augment": True, "mixup": 0.2},
    "optim": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.01, "schedule": "cosine"},
}


def config(**changes: Any) -> dict[str, Any]:
    changed = copy.deepcopy(BASE)
    for name, value in changes.items():
        section, key = name.split("__")
        changed[section][key] = value
    return changed


@pytest.mark.long
@pytest.mark.slow
def test_eight_epochs_reach_97_percent() -> None:
    reports = run_local(Digits, config(), max_length=8)
    assert [row["epoch"] for row in reports] == list(range(1, 9))
    assert reports[-1]["val/accuracy"] >= 0.97


@pytest.mark.slow
def test_resumes_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    changed = config() | {"train": {"report_every": 15}}
    whole = run_local(Digits, changed, max_length=2)
    session = LocalSession(
        config=changed,
        max_length=2,
        trial_dir=str(tmp_path),
        checkpoints=True,
        stop_when=lambda metrics: metrics["step"] == 30,
    )
    with pytest.raises(TrialStopped):
        run_task(Digits, session)
    resumed = LocalSession(
        config=changed, max_length=2, trial_dir=str(tmp_path), resume_from=session.checkpoint_path(30)
    )
    run_task(Digits, resumed)
    assert session.reports + resumed.reports == whole


@pytest.mark.long
@pytest.mark.slow
def test_every_component_changes_the_curve() -> None:
    arms = {
        "baseline": config(),
        "no-batchnorm": config(model__batchnorm=False),
        "no-dropout": config(model__dropout=0.0),
        "no-augment": config(data__augment=False),
        "no-mixup": config(data__mixup=0.0),
        "no-schedule": config(optim__schedule="constant"),
        "sgd": config(optim__name="sgd", optim__lr=0.1),
        "labels": config(data__wrong_labels=0.5),
        "numbering": config(data__numbering="descending"),
        "seed": config() | {"seed": 1},
    }
    cache: dict[str, Any] = {}
    curves = {name: run_local(Digits, arm, max_length=1, cache=cache) for name, arm in arms.items()}
    losses = [curve[0]["train/loss"] for curve in curves.values()]
    assert len(set(losses)) == len(losses)


def test_arms_share_the_weights_that_they_share() -> None:
    def first_weights(arm: dict[str, Any]) -> dict[str, torch.Tensor]:
        task = Digits(arm)
        model = task.build_model(arm)
        task.init_weights(model, task.streams)
        return dict(model.named_parameters())

    full, bare = first_weights(config()), first_weights(config(model__batchnorm=False))
    assert bare.keys() < full.keys()
    assert all(torch.equal(weight, full[name]) for name, weight in bare.items())


def test_scans_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_scans()
    expected = load_digits()
    assert torch.equal(pixels, torch.from_numpy(expected.data).float())
    assert torch.equal(labels, torch.from_numpy(expected.target).long())


def test_wrong_labels_are_those_of_training_alone() -> None:
    def labels(arm: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        task = Digits(arm)
        sets = task.split_data(task.build_data(arm), task.streams.generator("split"))
        return sets["train"]["label"], sets["val"]["label"]

    train, val = labels(config())
    wrong, untouched = labels(config(data__wrong_labels=0.5))
    assert int((wrong != train).sum()) == round(0.5 * len(train))
    assert torch.equal(untouched, val)
    counted_down = labels(config(data__numbering="descending"))
    assert all(torch.equal(9 - new, old) for new, old in zip(counted_down, (train, val), strict=True))


def test_an_unknown_numbering_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.numbering is 'up'; valid: ascending, descending"):
        run_local(Digits, config(data__numbering="up"), max_length=1)


def test_mixup_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the alpha of mixup is 2.0; valid: above 0, to 1"):
        run_local(Digits, config(data__mixup=2.0), max_length=1)


@pytest.mark.slow
def test_training_imports_neither_the_compiler_nor_scikit_learn_nor_ray() -> None:
    code = (
        "import sys, json; from orchestrator.training.local import run_local; "
        "from trials.digits import Digits; "
        "run_local(Digits, json.loads(sys.argv[1]), max_length=1); "
        "print([name for name in ('torch._dynamo', 'sklearn', 'ray', 'torchmetrics') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config())],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.strip() == "[]"
