"""Programs in the styles that people have, unchanged: each report is right about what was planted."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.api.recorded import open_study
from orchestrator.engine.inprocess import run_in_process
from orchestrator.errors import ExitCode
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.stats.results import HURTS
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

RECIPES = Path(__file__).parent
DAILY = {"argparse_script": "no-squares"}
HEAVIER = {
    "shell_script": "no-bias",
    "globals_and_exec": "no-context",
    "hydra_tree": "no-products",
    "ray_example": "no-centred",
    "boosting": "no-depth",
    "gan": "no-shift",
    "lightning_script": "no-nonlinearity",
    "lightning_cli": "no-nonlinearity",
    "hf_trainer": "no-positions",
}
"""The arm of each that has to hurt; the other one changes next to nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("name", DAILY)
def test_a_program_as_it_is_to_a_right_report(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = said(name, tmp_path, monkeypatch)
    assert verdicts.pop(DAILY[name]) == HURTS
    assert HURTS not in verdicts.values()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", HEAVIER)
def test_a_program_that_takes_longer(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = said(name, tmp_path, monkeypatch)
    assert verdicts.pop(HEAVIER[name]) == HURTS
    assert HURTS not in verdicts.values()


def said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Run the recipe's study from a copy of its project; arm -> verdict of the report."""
    project = tmp_path / name
    shutil.copytree(RECIPES / name, project)
    monkeypatch.chdir(project)
    spec = load_study(project / "study.yaml", cwd=project).spec
    storage = Storage.open(tmp_path / "runs")
    with closing(StudyRecord.open(storage, spec, make_plan(spec), Start("code"))) as record:
        assert run_in_process(spec, record, code_root=project).exit_code is ExitCode.DONE
    rows = open_study(tmp_path / "runs" / spec.name).effects().rows()
    return {row["arm"]: row["verdict"] for row in rows}


def test_every_recipe_has_its_section_and_its_test() -> None:
    page = (RECIPES.parents[1] / "docs" / "recipes.md").read_text()
    folders = {path.parent.name for path in RECIPES.glob("*/study.yaml")}
    assert folders == {*DAILY, *HEAVIER}
    files = {name: (RECIPES / name / "study.yaml").read_text().splitlines() for name in folders}
    assert {name for name, lines in files.items() if len(lines) > 25} == set()
    assert [name for name in folders if f"tests/recipes/{name}/study.yaml" not in page] == []
