"""A package brings a kind of entrypoint of its own, in one file: an estimator, trained step by step."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.inprocess import Faults, PlantedFault, run_in_process
from orchestrator.engine.runners import RUNNERS, Code, runner_of
from orchestrator.errors import ExitCode
from orchestrator.record.layout import StudyPaths
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study import plugins
from orchestrator.study.cells import make_plan
from orchestrator.study.spec import StudySpec

pytestmark = pytest.mark.slow

RUNNER = """
import inspect
import json
import tempfile
from pathlib import Path

from orchestrator.engine.runners import ImportedRunner
from orchestrator.engine.attempts import stage


class EstimatorRunner(ImportedRunner):
    noun = "an estimator with partial_fit and score"

    @classmethod
    def takes(cls, target, code):
        if not inspect.isclass(target) or not hasattr(target, "partial_fit"):
            return False
        if not hasattr(target, "score"):
            raise TypeError(f"{code.entrypoint} has partial_fit, but no score to report")
        return True

    def run(self, run, place):
        model, done = self.target(**run.assignment.config), 0
        with run.resume_dir() as folder:
            if folder is not None:
                vars(model).update(json.loads((folder / "model.json").read_text()))
                done = int(run.length)
        for epoch in range(done + 1, int(run.spec.stopping.max) + 1):
            model.partial_fit()
            folder = Path(tempfile.mkdtemp())
            (folder / "model.json").write_text(json.dumps(vars(model)))
            run.report({"epoch": epoch, "accuracy": model.score()}, stage(folder, move=True))
"""
USER = """
class Perceptron:
    def __init__(self, rate, seed, max_length):
        self.rate, self.weight = rate, seed + 1.0

    def partial_fit(self):
        self.weight = (self.weight * 1.7 + self.rate) % 1.0

    def score(self):
        return self.weight


class Speechless:
    def partial_fit(self): ...


class Neither: ...
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package, installed as pip does, and the directory of the user's code."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "toy_estimators.py").write_text(RUNNER)
    info = tmp_path / "site" / "toy_estimators-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy_estimators\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[orchestrator.runners]\nestimator = toy_estimators:EstimatorRunner\n"
    )
    (tmp_path / "own_code.py").write_text(USER)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    plugins._brought.cache_clear()
    yield tmp_path
    plugins._brought.cache_clear()
    RUNNERS._loaded.pop("estimator", None)
    for name in ("toy_estimators", "own_code"):
        sys.modules.pop(name, None)


def curves(root: Path, code: Path, *faults: PlantedFault) -> dict[tuple[str, int], list[tuple[int, float]]]:
    spec = StudySpec.model_validate(
        {
            "name": "own",
            "entrypoint": "own_code:Perceptron",
            "metric": {"name": "accuracy", "mode": "max"},
            "baseline": {"rate": 0.31},
            "components": {"rate": {"swap": {"high": {"rate": 0.62}}}},
            "seeds": 2,
            "stopping": {"max": 3, "unit": "epoch"},
            "failures": {"max_retries": 2, "report_timeout": 5},
            "loggers": [],
        }
    )
    storage, plan, paths = Storage.open(root), make_plan(spec), StudyPaths.of(spec.name)
    with closing(StudyRecord.open(storage, spec, plan, Start("code"))) as record:
        outcome = run_in_process(spec, record, code_root=code, faults=Faults(*faults))
    assert outcome.exit_code is ExitCode.DONE
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {
        (cell.arm, cell.seed): list(read_metrics(storage, paths.trial(cell.arm, cell.seed)))
        for cell in plan.cells
    }
    return {cell: [(row["epoch"], row["accuracy"]) for row in curve] for cell, curve in rows.items()}


def test_a_study_of_estimators_survives_a_killed_worker(tmp_path: Path, code: Path) -> None:
    undisturbed = curves(tmp_path / "one", code)
    assert {len(curve) for curve in undisturbed.values()} == {3}
    assert curves(tmp_path / "two", code, PlantedFault("worker killed", at=3)) == undisturbed


def test_its_words_are_among_the_others(code: Path) -> None:
    with pytest.raises(TypeError, match="Speechless has partial_fit, but no score to report"):
        runner_of(Code("own_code:Speechless", code))
    with pytest.raises(TypeError, match=r"the class Neither; an entrypoint is an estimator with .*, a subcl"):
        runner_of(Code("own_code:Neither", code))
