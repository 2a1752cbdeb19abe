"""check and lr-find as commands: exit codes, lines, JSON, page; and entrypoints that do not play along."""

from __future__ import annotations

import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.image as plt_image
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator.api.checking import write
from orchestrator.engine.checks._checkprocess import finite, run_gates
from orchestrator.reporting.checkpage import to_html
from orchestrator.training.gates.data import base64_png
from orchestrator.training.gates.results import (
    ArmToCheck,
    CheckReport,
    CheckRequest,
    EvidenceCurve,
    EvidenceTable,
    GateResult,
    Picture,
    failed,
    gate_from_json,
    passed,
    skipped,
)

pytestmark = pytest.mark.slow  # torch takes seconds to import

ROOT = Path(__file__).parents[2]
PLANTED = ROOT / "tests" / "training" / "planted"
STUDY = """\
name: planted
entrypoint: {entrypoint}
metric: {{name: val/accuracy, mode: max}}
baseline:
  data: {{batch_size: 16, jitter: 0.05}}
  model: {{width: 32, dropout: 0.1}}
  optim: {{name: adamw, lr: 1e-2, weight_decay: 0.01}}
components:
  width: {{without: {{model.width: 8}}}}
  dropout: {{without: {{model.dropout: 0.0}}}}
  unheard: {{without: {{optim.lr: 0.009}}, acts_after: 9}}
seeds: 3
stopping: {{max: 3}}
"""
DYING = """\
import os
import sys
from healthy import Healthy

class Dying(Healthy):
    def loss(self, outputs, batch):
        print("a line of the user's own")
        print("why", file=sys.stderr, flush=True)
        os._exit(7)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the planted recipes in it; also the current directory."""
    for file in PLANTED.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(folder: Path, entrypoint: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(STUDY.format(entrypoint=entrypoint))
    return file


REPORT = CheckReport(
    "planted",
    "healthy:Healthy",
    (
        GateResult(
            "A1",
            "look at the data",
            passed(
                "<b> & samples",
                tables=(EvidenceTable("a table", ("name", "value"), (("one", "1"),)),),
                pictures=(Picture("a picture", "iVBORw0KGgo="),),
                curves=(EvidenceCurve("a curve", "rate", "loss", ((1e-3, 2.0), (1e-1, 1.0)), True, 1e-2),),
                warnings=("a warning",),
            ),
            0.25,
        ),
        GateResult("A2", "separate sets", failed("they overlap", "the split")),
        GateResult("A11", "warm equals cold", skipped("needs lanes")),
    ),
    3.0,
)


def test_results_survive_json(fits) -> None:
    document: dict[str, Any] = json.loads(json.dumps(REPORT.to_json()))
    fits("check", {"page": None, **document})
    assert tuple(map(gate_from_json, document["gates"])) == REPORT.gates
    assert document["passed"] is False


def test_the_page_shows_everything_and_loads_nothing() -> None:
    page = to_html(REPORT)
    for text in ("&lt;b&gt; &amp; samples", "a table", "a picture", "a curve", "a warning", "the split"):
        assert text in page
    assert "1 of 3 gates failed" in page
    assert "http" not in page
    assert "<script" not in page


def test_numbers_that_json_lacks() -> None:
    assert json.loads(json.dumps(finite({"a": [float("nan"), (float("inf"), 1.0)]}), allow_nan=False))


def test_tensorboard_shows_the_pictures(tmp_path: Path) -> None:
    pixels = torch.arange(12 * 5 * 3, dtype=torch.uint8).reshape(5, 12, 3)
    looked = passed("seen", pictures=(Picture("a picture", base64_png(pixels)),))
    write(CheckReport("planted", "x:Y", (GateResult("A1", "look", looked),), 1.0), tmp_path, "check")
    events = EventAccumulator(str(tmp_path / "tensorboard" / "check"))
    events.Reload()
    [image] = events.Images("check/A1")
    assert (image.width, image.height) == (12, 5)
    assert np.array_equal(plt_image.imread(BytesIO(image.encoded_image_string)) * 255, pixels.numpy())
    assert "check/A1/text_summary" in events.Tags()["tensors"]


def test_a_study_that_is_none_is_bad_input(command, folder: Path) -> None:
    assert command("check", "--config", study(folder, "nowhere:Recipe")).code == 2
    assert not (folder / "checks").exists()


def test_a_gate_that_there_is_not(command, folder: Path) -> None:
    result = command("check", "--config", study(folder, "healthy:Healthy"), "--gate", "A6", "--gate", "B1")
    assert result.code == 2
    assert "--gate: there is no such gate (got B1); valid: A1, A2" in result.faults[0]


@pytest.mark.long
def test_single_gates(command, folder: Path) -> None:
    file = study(folder, "faults:Detached")
    result = command("check", "--config", file, "--gate", "A4", "--gate", "A12")
    assert result.code == 0
    assert [line.split()[:2] for line in result.out.splitlines()[:2]] == [["pass", "A4"], ["pass", "A12"]]


def test_check_writes_lines_page_and_events(command, folder: Path) -> None:
    result = command("check", "--config", study(folder, "healthy:Healthy"))
    assert result.code == 0, result.out
    lines = result.out.splitlines()
    assert lines[0].startswith("pass     A1   look at the data")
    assert "13 passed, 0 failed, 0 skipped" in lines[-1]
    assert "unheard may act later than that" in result.out
    [changed] = [line for line in lines if line.startswith("no-width")]
    assert changed.split()[1:5] == ["model.width:", "8", "108", "(-312)"]
    assert result.err.splitlines()[-1] == "checks/planted/check.html"
    assert {path.name for path in (folder / "checks" / "planted").iterdir()} == {
        *("check.html", "check.json", "tensorboard"),
    }


@pytest.mark.long
def test_the_digits_pass_all_gates_in_time(command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "checks"
    monkeypatch.chdir(ROOT)
    result = command("check", "--config", "configs/digits.yaml", "--out", out)
    assert result.code == 0, result.out
    said = re.search(r"13 passed, 0 failed, 0 skipped; (\d+) s", result.out)
    assert said
    assert int(said[1]) < 90


@pytest.mark.long
def test_check_for_programs_and_a_trial_that_another_one_changes(command, folder: Path, fits) -> None:
    result = command("check", "--config", study(folder, "faults:ChangedInPlace"), "--json")
    assert result.code == 1
    gates = {gate["gate"]: gate["verdict"] for gate in result.document["gates"]}
    assert [gate for gate, found in gates.items() if found["state"] == "fail"] == ["A11"]
    assert "baseline on a fresh worker has loss" in gates["A11"]["evidence"]
    assert result.document["passed"] is False
    fits("check", result.document)


def test_an_entrypoint_that_does_not_import(command, folder: Path) -> None:
    (folder / "broken.py").write_text("import no_such_module\nclass Recipe: ...\n")
    result = command("check", "--config", study(folder, "broken:Recipe"))
    assert result.code == 2
    assert "does not import: ModuleNotFoundError: No module named 'no_such_module'" in result.faults[0]


@pytest.mark.long
def test_a_process_that_dies_fails_the_gate_that_ran(folder: Path) -> None:
    (folder / "dying.py").write_text(DYING)
    config = {"data": {"batch_size": 16, "jitter": 0.0}, "model": {"width": 8, "dropout": 0.0}}
    asked = CheckRequest("dying:Dying", str(folder), 0, (), (ArmToCheck("baseline", config),))
    [only] = run_gates(asked)
    assert (only.gate, only.state) == ("A1", "fail")
    assert only.verdict.evidence == "the process ended (exit code 7): why"


@pytest.mark.long
def test_a_function_is_skipped(command, folder: Path) -> None:
    (folder / "plain.py").write_text("def train(config):\n    raise RuntimeError\n")
    result = command("check", "--config", study(folder, "plain:train"))
    assert result.code == 0
    assert "0 passed, 0 failed, 13 skipped" in result.out


@pytest.mark.long
def test_lr_find(command, folder: Path, fits) -> None:
    result = command("lr-find", "--config", study(folder, "healthy:Healthy"), "--json")
    assert result.code == 0
    fits("lr-find", result.document)
    [gate] = result.document["gates"]
    assert 1e-4 < gate["verdict"]["curves"][0]["mark"] < 1
    assert result.document["page"] == "checks/planted/lr-find.html"
