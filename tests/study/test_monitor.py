"""`monitor` in the study file."""

from pathlib import Path

import pytest

from orchestrator.errors import StudyError
from orchestrator.study.identity import frozen_view
from orchestrator.study.loading import load_study

STUDY = """\
name: small
entrypoint: code:Task
metric: {name: loss, mode: min}
baseline: {lr: 0.1}
seeds: 3
stopping: {max: 2}
"""


def study(folder: Path, line: str = "") -> Path:
    (folder / "code.py").write_text("class Task: ...\nclass Mine: ...\n")
    path = folder / "study.yaml"
    path.write_text(STUDY + line)
    return path


@pytest.mark.parametrize(
    ("line", "monitors"),
    [
        ("", "auto"),
        ("monitor: auto", "auto"),
        ("monitor: []", ()),
        ("monitor: [gradients, code:Mine]", ("gradients", "code:Mine")),
    ],
)
def test_what_may_be_written(tmp_path: Path, line: str, monitors: object) -> None:
    assert load_study(study(tmp_path, line), cwd=tmp_path).spec.monitor == monitors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("monitor: [gradient]", 'has no monitor "gradient"; did you mean gradients?'),
        ("monitor: [gradients, gradients]", "names a monitor twice"),
        ("monitor: gradients", "must be auto or a list such as [gradients, best_worst]; [] switches all off"),
        ("monitor: [3]", "has no monitor 3"),
        ("monitor: [code:Nine]", "does not define 'Nine'"),
        ("monitor: [cude:Mine]", "there is no module 'cude'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(study(tmp_path, line), cwd=tmp_path)
    (fault,) = caught.value.faults
    assert message in str(fault)
    assert (fault.line, fault.field) == (7, "monitor")


def test_it_may_change_between_runs(tmp_path: Path) -> None:
    with_all = frozen_view(load_study(study(tmp_path)).spec)
    without = frozen_view(load_study(study(tmp_path, "monitor: []")).spec)
    assert with_all == without
