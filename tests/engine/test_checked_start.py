"""A study with a bug, through the real command: refused, run anyway, and not asked again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workbench import Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

PLANTED = Path(__file__).parents[1] / "training" / "planted"
STUDY = """\
name: checked
entrypoint: faults:Overlap
metric: {name: val/accuracy, mode: max}
baseline:
  data: {batch_size: 16, jitter: 0.05}
  model: {width: 8, dropout: 0.1}
  optim: {name: adamw, lr: 1e-2}
components:
  dropout: {without: {model.dropout: 0.0}}
seeds: 1
stopping: {rule: none, max: 1, unit: epoch}
"""


def test_a_bug_costs_nothing_unless_asked_for(shared_bench: Callable[..., Bench]) -> None:
    study = shared_bench(None, STUDY)
    for file in PLANTED.glob("*.py"):
        shutil.copy(file, study.code)
    refused = study.run()
    assert refused.code == 2, refused.err
    assert "check A2, separate sets: 3 of 67 validation samples are in the training set too" in refused.err
    assert "--no-check to run it anyway" in refused.err
    assert list(study.storage_root.rglob("*.json*")) == []

    ran = study.run("--no-check")
    assert ran.code == 0, ran.err
    answers = json.loads((study.storage_root / "checked" / "check.json").read_text())
    assert answers["asked"] is False

    again = study.run()
    assert again.code == 0, again.err
    assert "check A2" not in again.err

    with (study.code / "faults.py").open("a") as module:
        module.write("CHANGED = True\n")
    changed = study.run("--accept-code-change", "seeds=2", "--extend")
    assert changed.code == 2, changed.err
    assert "check A2" in changed.err
