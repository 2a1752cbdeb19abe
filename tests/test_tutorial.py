"""`docs/tutorial.md`, line by line: every command works, and the report says what the page shows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.reporting import figures

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", DOCS / "tutorial.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def verdicts(report: str) -> dict[str, str]:
    """Arm -> verdict, of the rows of a report's table."""
    return dict(re.findall(r"^(\S.*?\S) {2,}.* {2,}(hurts|helps|unresolved)", report, re.MULTILINE))


@pytest.mark.long
def test_whoever_follows_it_gets_what_it_shows(tutorial: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    said = tutorial.follow(folder)
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- tutorial: (\w+) -->\n```\w+\n(.*?)```\n<!-- end -->", page, re.DOTALL)
    shown = dict(blocks)
    assert list(shown) == list(tutorial.KINDS)
    assert said["init"] == shown["init"]
    assert said["plan"] == shown["plan"]
    assert verdicts(said["report"]) == verdicts(shown["report"])
    assert sorted(verdicts(shown["report"]).values()) == ["helps", "hurts", "unresolved"]
    assert {"table.tex", "table-slim.tex", "report.html", "results.parquet"} <= {
        path.name for path in (folder / "runs" / "digits").iterdir()
    }
    page = (DOCS / "figures.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(images/(figures-\w+\.svg)\)", page)) == set(tutorial.figures(folder))


def test_the_page_on_figures_explains_all_of_them() -> None:
    code = Path(figures.__file__).read_text(encoding="utf-8")
    titles = [*re.findall(r'^        "\w+": \("(.+)", \w+\.\w+\),$', code, re.MULTILINE), "Cost"]
    assert len(titles) == 8
    page = (DOCS / "figures.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## (.+)$", page, re.MULTILINE)) == sorted(titles)
