"""`configs/digits.yaml` as it is, under the sequential rule and as a whole grid."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from workbench import REPOSITORY, Bench

from orchestrator.record.layout import StudyPaths
from orchestrator.record.recorded import read_study
from orchestrator.reporting.build import build_report
from orchestrator.stats.results import RESOLVED
from orchestrator.study.spec import StudySpec

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


@dataclass(frozen=True)
class Study:
    """What one run of the command has left."""

    bench: Bench
    name: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.folder / "results.parquet").to_pylist())

    @property
    def folder(self) -> Path:
        return self.bench.storage_root / self.name

    @property
    def effects(self) -> dict[str, dict[str, Any]]:
        said = json.loads((self.folder / "effects.json").read_text())
        return {effect["arm"]: effect for effect in said["effects"]}


@pytest.fixture(scope="module")
def studies(shared_bench: Callable[..., Bench]) -> tuple[Study, Study]:
    made = shared_bench(None, (REPOSITORY / "configs" / "digits.yaml").read_text())
    assert made.run().code == 0
    assert made.run("name=digits-grid", "stopping.rule=none", "--no-check").code == 0
    return Study(made, "digits"), Study(made, "digits-grid")


def test_it_takes_fewer_runs_and_says_the_same(studies: tuple[Study, Study]) -> None:
    sequential, grid = studies
    ran = [sum(row["attempts"] > 0 for row in study.rows) for study in studies]
    assert ran[1] == len(grid.rows) == 40
    assert ran[0] < ran[1]
    assert len(sequential.rows) == 40
    both = {
        arm: (one["verdict"], grid.effects[arm]["verdict"])
        for arm, one in sequential.effects.items()
        if {one["verdict"], grid.effects[arm]["verdict"]} <= RESOLVED
    }
    assert "no-batchnorm" in both
    assert all(one == other for one, other in both.values())


def test_the_same_runs_give_the_same_values(studies: tuple[Study, Study]) -> None:
    sequential, grid = (
        {(row["arm"], row["seed"]): row["value"] for row in study.rows if row["used"]} for study in studies
    )
    assert sequential.items() <= grid.items()


def test_it_was_checked_before_the_start(studies: tuple[Study, Study]) -> None:
    answers = json.loads((studies[0].folder / "check.json").read_text())
    assert [(gate["gate"], gate["verdict"]["state"]) for gate in answers["gates"]] == [
        (number, "pass") for number in ("A1", "A2", "A4", "A8", "A9", "A12")
    ]


def test_the_ledger_adds_up(studies: tuple[Study, Study]) -> None:
    for study in studies:
        paths = StudyPaths.of(study.name)
        view = read_study(study.bench.storage, study.name)
        report = build_report(
            study.bench.storage, paths, StudySpec.model_validate(view.spec), view.plan, view.state
        )
        recorded = math.fsum(row["wall_s"] for row in study.rows)
        assert math.fsum(entry.wall_s for entry in report.ledger.entries) == pytest.approx(recorded, abs=1e-9)
        assert report.ledger.wall_s == pytest.approx(recorded, abs=1e-9)
