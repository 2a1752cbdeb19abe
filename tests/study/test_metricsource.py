"""`metrics` of a command in a study file: one source, below the trial's directory, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StudyError
from orchestrator.study.command import CommandSpec
from orchestrator.study.loading import load_study

STUDY = """
name: metrics
entrypoint: {{command: "true", metrics: {metrics}}}
metric: {{name: val/acc, mode: max}}
baseline: {{}}
seeds: 1
stopping: {{max: 1}}
"""


def load(tmp_path: Path, metrics: str) -> Any:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.format(metrics=metrics))
    entrypoint = load_study(file).spec.entrypoint
    assert isinstance(entrypoint, CommandSpec)
    return entrypoint.metrics


@pytest.mark.parametrize(
    ("metrics", "source"),
    [
        ("{file: logs/history.csv}", "file"),
        ("{pattern: 'acc (?P<val_acc>.*)'}", "pattern"),
        ("{pattern: ['epoch (?P<epoch>.*)', 'acc (?P<val_acc>.*)']}", "pattern"),
        ("{tensorboard: runs}", "tensorboard"),
        ("{counts_from: 0}", None),
    ],
)
def test_one_source_or_none(metrics: str, source: str | None, tmp_path: Path) -> None:
    assert load(tmp_path, metrics).source == source


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ("{file: a.csv, pattern: '(?P<a>.)'}", "has 2 sources, file and pattern; keep the one that counts"),
        ("{flie: a.csv}", "unknown key 'flie'; did you mean file?"),
        ("{file: /tmp/a.csv}", "below the trial's own directory"),
        ("{file: ../a.csv}", "below the trial's own directory"),
        ("{pattern: '(?P<a>'}", "is no regular expression"),
        ("{pattern: 'acc (.*)'}", "names no group"),
        ("{counts_from: 2}", "must be 0 or 1"),
        ("{file: 3}", "must be text"),
    ],
)
def test_what_is_refused(metrics: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as raised:
        load(tmp_path, metrics)
    assert said in str(raised.value)
    assert "study.yaml:3: entrypoint.metrics" in str(raised.value)
