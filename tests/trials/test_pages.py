"""The pages in docs/examples show reports of the studies as they are in configs/."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from planted import NOT_DIFFERENT

from orchestrator.stats.results import HURTS
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
BLOCK = re.compile(r"<!-- report: ([\w-]+) -->\n```text\n(.*?)\n```\n<!-- end -->", re.DOTALL)
REPORTS = {name: text for page in PAGES for name, text in BLOCK.findall(page.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("study", sorted(REPORTS))
def test_a_page_shows_every_arm_of_its_study(study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    spec = load_study(ROOT / "configs" / f"{study}.yaml", cwd=ROOT).spec
    shown = {line.split()[0] for line in REPORTS[study].splitlines() if line.strip()}
    arms = {arm.name for arm in make_plan(spec).arms}
    assert arms - {"baseline"} <= shown
    assert (ROOT / "docs" / "images" / f"{study}.svg").exists()


def test_every_example_has_a_page_with_a_report() -> None:
    assert REPORTS.keys() == {"tabular", "charlm", "segment", "generator", "cifar-small", "digits-planted"}
    pages = {"README", "tabular", "charlm", "segment", "generator", "cifar", "digits"}
    assert {page.stem for page in PAGES} == pages


def test_a_report_that_is_kept_is_small_whole_and_cites_what_it_names() -> None:
    folder = ROOT / "docs" / "examples" / "generator"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 300_000
    links = set(re.findall(r'href="(?!#|data:)([^"]*)"', page))
    assert {link for link in links if not (folder / link).exists()} == set()
    cited = re.findall(r"\\cite\{([^}]*)\}", (folder / "methods.tex").read_text(encoding="utf-8"))
    keys = re.findall(r"^@\w+\{(\w+),", (folder / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert {key for group in cited for key in group.split(",")} == {*keys}


def test_the_times_on_the_page_are_those_of_right_reports_within_five_minutes() -> None:
    times = json.loads((PAGES[0].parent / "times.json").read_text(encoding="utf-8"))
    assert times.keys() == REPORTS.keys()
    index = (PAGES[0].parent / "README.md").read_text(encoding="utf-8")
    for study, kept in times.items():
        minutes, seconds = divmod(round(kept["wall_s"]), 60)
        assert f"| {study} | {minutes}:{seconds:02d} min |" in index
        assert kept["wall_s"] < 300, study
        assert kept["hurt"][1] == HURTS, study
        assert kept["nothing"][1] in NOT_DIFFERENT, study
