"""`docs/practice.md`: no point of the list is missing, and what it names exists."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from orchestrator.cli.app import app

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PAGE = ROOT / "docs" / "practice.md"
NUMBERS = {"A": 14, "B": 12, "C": 10, "D": 6}
IDS = [f"{letter}{number}" for letter, last in NUMBERS.items() for number in range(1, last + 1)]
ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| [A-D]\d+ \|", line)
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def test_every_point_has_a_row_in_its_order() -> None:
    assert list(ROWS) == IDS


@pytest.mark.parametrize("number", IDS)
def test_what_a_row_names_exists(number: str) -> None:
    _, where, command, tests = ROWS[number]
    links = re.findall(r"\]\(([^)]+)\)", where)
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
    program, verb, *words = shlex.split(command.strip("`"))
    assert program == "orchestrate"
    context = COMMANDS[verb].make_context(verb, words)
    config = context.params.get("config")
    assert config is None or (ROOT / config).exists()
    named = re.findall(r"`([^`]+)::([^`]+)`", tests)
    assert named
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, file
