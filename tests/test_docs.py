"""Every command that the documentation shows is one that works: parsed, or run where that is quick."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from orchestrator.cli.app import app, main
from orchestrator.study.loading import load_study

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "configs").glob("**/*.md")),
]
SCAFFOLD = ROOT / "orchestrator" / "cli" / "scaffold" / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def commands(page: Path) -> list[str]:
    blocks = [text for kind, text in BLOCK.findall(page.read_text()) if kind in ("sh", "bash", "console", "")]
    lines = [
        line.removeprefix("$ ").partition("  #")[0].strip() for block in blocks for line in block.splitlines()
    ]
    return [line for line in lines if line.startswith(("orchestrate ", "make ", "pytest"))]


SHOWN = [(page, line) for page in [*PAGES, SCAFFOLD] for line in commands(page)]


def test_the_readme_shows_commands() -> None:
    assert len(commands(ROOT / "README.md")) >= 12


@pytest.mark.parametrize(
    ("page", "line"), SHOWN, ids=lambda value: value if isinstance(value, str) else value.name
)
def test_shown_commands_exist(page: Path, line: str) -> None:
    program, *words = shlex.split(line.replace("{{name}}", "my-study"))
    if program == "make":
        targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert next(word for word in words if "=" not in word) in targets
    elif program == "orchestrate" and not words[0].startswith("-"):
        command = COMMANDS[words[0]]
        command.make_context(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.slow
def test_a_study_of_ones_own_as_the_readme_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ("init", "validate", "plan")
    for line in commands(ROOT / "README.md"):
        program, *words = shlex.split(line)
        # a pilot trains on Ray: tests/engine/test_pilot.py
        if program == "orchestrate" and words[0] in quick and "--pilot" not in words:
            assert main(words) == 0, line


def test_the_study_file_in_the_readme_is_valid(tmp_path: Path) -> None:
    [text] = [text for kind, text in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "yaml"]
    (tmp_path / "study.yaml").write_text(text)
    assert load_study(tmp_path / "study.yaml").spec.name == "my-study"


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_example_studies_are_valid(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load_study(config, cwd=ROOT).entrypoint is not None
