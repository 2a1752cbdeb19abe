"""A small valid study that the tests write, change and break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.errors import Fault, StudyError
from orchestrator.study.loading import LoadedStudy, load_study

STUDY = """\
name: small
entrypoint: code.trial:Trial
metric: {name: val/accuracy, mode: max}
baseline:
  model: {width: 32, batchnorm: true, dropout: 0.1}
  optim: {name: adamw, lr: 1e-3}
components:
  batchnorm: {without: {model.batchnorm: false}, why: does it matter?}
  dropout: {without: {model.dropout: 0.0}}
  optimizer: {swap: {sgd: {optim.name: sgd, optim.lr: 0.1}, adam: {optim.name: adam}}}
seeds: 3
stopping: {rule: none, max: 8, unit: epoch}
"""

Load = Callable[..., LoadedStudy]
Faults = Callable[..., list[Fault]]


@pytest.fixture
def study_text() -> str:
    return STUDY


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a study (default: the small one) and load it with overrides."""

    def run(text: str = STUDY, overrides: Sequence[str] = (), **options: Path) -> LoadedStudy:
        file = tmp_path / "study.yaml"
        file.write_text(dedent(text), encoding="utf-8")
        return load_study(file, overrides, **options)

    return run


@pytest.fixture
def faults(load: Load) -> Faults:
    """The faults of a study that cannot be loaded."""

    def run(text: str = STUDY, overrides: Sequence[str] = (), **options: Path) -> list[Fault]:
        with pytest.raises(StudyError) as caught:
            load(text, overrides, **options)
        return list(caught.value.faults)

    return run
