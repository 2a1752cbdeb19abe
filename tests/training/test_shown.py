"""The code of the pages on data, the loop and monitors runs as it stands there."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy import config
from watched import KnownToy, watch

from orchestrator import Study, run_local
from orchestrator.training.data.label_noise import wrong_labels
from orchestrator.training.local import LocalSession
from orchestrator.training.streams import SampleDraws, Streams
from orchestrator.training.task import Task

ROOT = Path(__file__).parents[2]
DIGITS = {
    "name": "digits",
    "entrypoint": "trials.digits:Digits",
    "metric": {"name": "val/accuracy", "mode": "max"},
    "baseline": {
        "data": {"batch_size": 64, "augment": False, "mixup": 0.0},
        "model": {"width": 4, "batchnorm": True, "dropout": 0.0},
        "optim": {"name": "adamw", "lr": 3e-3},
    },
    "components": {"batchnorm": {"without": {"model.batchnorm": False}}},
    "seeds": 1,
    "stopping": {"rule": "none", "max": 1, "unit": "epoch"},
    "monitor": ["best_worst"],
}


def source(page: str, which: int) -> str:
    """Return a block of Python of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[which]


def run(block: str, **given: Any) -> dict[str, Any]:
    """Run a block beside what its page takes as known; what it has defined."""
    exec(compile(block, "page", "exec"), given)
    return given


def test_augmentation_and_mixing() -> None:
    recipe = run(source("data.md", 0), Task=Task)["Recipe"]
    ids = torch.arange(8)
    batch = {"image": torch.rand(8, 3, 12, 12), "label": ids % 3, "id": ids}
    task = object.__new__(recipe)
    mixed = task.augment(batch, SampleDraws(Streams(0), 0, ids))
    assert mixed["image"].shape == batch["image"].shape
    assert not torch.equal(mixed["image"], batch["image"])
    assert task.loss({"logits": torch.zeros(8, 3)}, mixed).item() == pytest.approx(math.log(3))


class Sides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic, self.generator = nn.Linear(4, 1), nn.Linear(2, 4)


def test_two_optimizers() -> None:
    task = object.__new__(run(source("loop.md", 0), Task=Task, torch=torch, F=F)["Gan"])
    model = Sides()
    found = task.optimizers(model, {})
    batch = {"noise": torch.rand(5, 2), "image": torch.rand(5, 4)}
    for name, optimizer in found.items():
        model.zero_grad()
        task.loss_of(name, model, batch).backward()
        trained = [weight for group in optimizer.param_groups for weight in group["params"]]
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in trained), name
    assert list(found) == ["critic", "generator"]


def test_a_kind_and_planted_labels() -> None:
    assert run(source("monitors.md", 0), Task=Task)["Digits"].kind == "classification"

    class Parts:
        streams = Streams(0)

        def split_data(self, data: Any, generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
            return {"train": {}, "val": {"label": data}}

    block = "class Planted(Parts):\n" + indent(source("monitors.md", 1), "    ")
    planted = run(block, Parts=Parts, wrong_labels=wrong_labels)["Planted"]()
    right = torch.arange(200) % 10
    labels = planted.split_data(right, torch.Generator())["val"]["label"]
    assert int((labels != right).sum()) == 6


@pytest.mark.slow
def test_what_a_monitor_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = Study.from_dict(DIGITS, folder=ROOT)
    run_local(study, "baseline", 0, storage="runs", progress="none")
    assert len(run(source("monitors.md", 2))["worst"]) == 16


def test_a_monitor_of_ones_own(
    session_for: Callable[..., LocalSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = run(source("monitors.md", 3))["Largest"]
    monkeypatch.setattr(sys.modules[__name__], "Largest", largest, raising=False)
    sink = watch(KnownToy, session_for(config(), monitors=(f"{__name__}:Largest",)))
    told = [entry.value["weights/largest"] for entry in sink.entries if "weights/largest" in entry.value]
    assert told
    assert min(told) > 0
