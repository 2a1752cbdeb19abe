"""`loggers`, `datamodule` and `datasets` in the study file."""

from pathlib import Path

import pytest

from orchestrator.errors import StudyError
from orchestrator.study.cells import make_plan
from orchestrator.study.identity import frozen_view
from orchestrator.study.loading import load_study
from orchestrator.study.names import LOGGERS
from orchestrator.study.spec import StudySpec

STUDY = """\
name: small
entrypoint: code:train
metric: {name: loss, mode: min}
baseline: {lr: 0.1}
seeds: 3
stopping: {max: 2}
"""


def load(folder: Path, line: str = "") -> StudySpec:
    (folder / "code.py").write_text("class Data: ...\ndef train(config): ...\ndef make(config): ...\n")
    path = folder / "study.yaml"
    path.write_text(STUDY + line)
    return load_study(path, cwd=folder).spec


def test_loggers_may_change_between_runs(tmp_path: Path) -> None:
    plain, more = load(tmp_path), load(tmp_path, "loggers: [tensorboard, wandb, mlflow]")
    assert plain.loggers == ("tensorboard",)
    assert load(tmp_path, "loggers: []").loggers == ()
    assert frozen_view(plain) == frozen_view(more)
    assert make_plan(plain).hash == make_plan(more).hash


def test_a_logger_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOGGERS.get("wandb"), "needs", "a_package_that_is_not_here")
    with pytest.raises(StudyError, match=r"the logger 'wandb' is not installed") as caught:
        load(tmp_path, "loggers: [tensorboard, wandb]")
    (fault,) = caught.value.faults
    assert (fault.line, fault.field) == (7, "loggers")
    assert "pip install 'orchestrator[wandb]'" in (fault.hint or "")


@pytest.mark.parametrize("key", ["datamodule", "datasets"])
def test_code_that_makes_the_data_is_part_of_what_a_cell_is(tmp_path: Path, key: str) -> None:
    plain, other = load(tmp_path), load(tmp_path, f"{key}: code:make")
    assert key not in frozen_view(plain)
    assert frozen_view(other)[key] == "code:make"
    assert {c.cell for c in make_plan(plain).cells}.isdisjoint(c.cell for c in make_plan(other).cells)


@pytest.mark.parametrize("key", ["datamodule", "datasets"])
def test_missing_code_is_found_without_importing_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(StudyError, match="does not define 'mak'") as caught:
        load(tmp_path, f"{key}: code:mak")
    assert [(fault.line, fault.field) for fault in caught.value.faults] == [(7, key)]
