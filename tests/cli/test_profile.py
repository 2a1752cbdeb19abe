"""profile as a command: tables, trace, and an arm of one's own choice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

PLANTED = Path(__file__).parents[1] / "training" / "planted"
STUDY = """\
name: planted
entrypoint: healthy:Healthy
metric: {name: val/accuracy, mode: max}
baseline:
  data: {batch_size: 16, jitter: 0.05}
  model: {width: 32, dropout: 0.1}
  optim: {name: adamw, lr: 1e-2}
components:
  width: {without: {model.width: 8}}
seeds: 2
stopping: {max: 3}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in PLANTED.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return Path("study.yaml")


def test_an_arm_that_there_is_not(command, study: Path) -> None:
    result = command("profile", "--config", study, "--arm", "no-widht")
    assert result.code == 2
    assert "--arm: the study has no such arm (got no-widht); did you mean no-width?" in result.faults[0]


@pytest.mark.long
@pytest.mark.slow
def test_it_names_the_bottleneck_and_shows_the_layers(command, study: Path) -> None:
    result = command("profile", "--config", study)
    assert result.code == 0, result.err
    layers, step, *rest = result.out.splitlines()
    assert layers.startswith("pass     P1   what the layers cost    420 parameters")
    assert "; the bottleneck is " in step
    assert any(line.startswith("body.0") and "Linear" in line for line in rest)
    assert any(line.startswith("backward") for line in rest)
    assert result.err.splitlines()[-1] == "checks/planted/profile.html"
    assert not Path("checks/planted/trace.json").exists()


@pytest.mark.long
@pytest.mark.slow
def test_a_trace_of_another_arm_for_programs(command, study: Path, fits) -> None:
    result = command("profile", "--config", study, "--arm", "no-width", "--trace", "--json")
    assert result.code == 0, result.err
    fits("profile", result.document)
    layers, _, traced = (gate["verdict"] for gate in result.document["gates"])
    assert layers["evidence"].startswith("108 parameters")
    place = Path(traced["evidence"].partition(" (")[0])
    assert place == Path("checks/planted/trace.json").resolve()
    names = {event.get("name") for event in json.loads(place.read_text())["traceEvents"]}
    assert {"data", "augment", "forward", "backward", "optimizer", "logging"} <= names
    assert "aten::addmm" in {row[0] for row in traced["tables"][0]["rows"]}
