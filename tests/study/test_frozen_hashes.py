"""Plan hashes as the first version made them: every later one takes up a study that was begun with it.

A study that has begun is under the version of its rule that it began under, here the first.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

ROOT = Path(__file__).parents[2]
FROZEN = json.loads((Path(__file__).parent / "frozen_hashes.json").read_text())
"""`configs`: of the study files in configs/; `variants`, `new`: of `BASE` with these overrides."""
BEGUN = "stopping.version=1"
BASE = """
name: frozen
entrypoint: trials.digits:Digits
metric: {name: val/accuracy, mode: max}
baseline: {model: {width: 32, batchnorm: true, dropout: 0.1}, optim: {name: adamw, lr: 0.01, clip: 1.0}}
components:
  batchnorm: {without: {model.batchnorm: false}}
  dropout: {without: {model.dropout: 0.0}}
  clip: {without: {optim.clip: null}}
  optimizer: {swap: {sgd: {optim.name: sgd, optim.lr: 0.1}}}
seeds: 5
stopping: {max: 20}
"""


@pytest.mark.parametrize("name", sorted(FROZEN["configs"]))
def test_study_files(name: str) -> None:
    spec = load_study(ROOT / "configs" / name, [BEGUN]).spec
    assert make_plan(spec).hash == FROZEN["configs"][name]


@pytest.mark.parametrize("words", sorted(FROZEN["variants"]))
def test_rules_designs_and_searches(words: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(BASE)
    assert make_plan(load_study(file, [*words.split(), BEGUN]).spec).hash == FROZEN["variants"][words]


@pytest.mark.parametrize("words", sorted(FROZEN["new"]))
def test_new_studies(words: str, tmp_path: Path) -> None:
    """As they are since the grid's test and every goal have a second version."""
    file = tmp_path / "study.yaml"
    file.write_text(BASE)
    plan = make_plan(load_study(file, words.split()).spec)
    assert plan.hash == FROZEN["new"][words]
    assert plan.registered["rule_version" if "none" in words else "goal_version"] == 2
