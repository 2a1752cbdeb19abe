"""`docs/promises.md`: the tests that it names exist, and belong to the suites that it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"
SUITES = ("fast", "test", "web", "cluster", "all")
ROWS = [
    cells
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if "`tests/" in line
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
]


def suite(marks: set[str]) -> str:
    """The first suite that runs a test with these marks."""
    if "long" in marks:
        return "all"
    for mark in ("cluster", "web"):
        if mark in marks:
            return mark
    return "test" if marks & {"ray", "slow"} else "fast"


def marks(*nodes: ast.expr) -> set[str]:
    """Names after `pytest.mark` anywhere in the expressions."""
    return {
        part.attr
        for node in nodes
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Attribute)
        and part.value.attr == "mark"
    }


def suites_of(file: Path) -> set[str]:
    """The suites that its tests belong to."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    everywhere = {
        name
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets)
        for name in marks(node.value)
    }
    return {
        suite(everywhere | marks(*node.decorator_list))
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_suite_has_its_command_and_its_promises() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in SUITES if f"\n| {name} | `make " in text] == list(SUITES)
    assert {name for row in ROWS for name in row[2].split(", ")} == set(SUITES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_the_tests_of_a_promise_are_in_its_suites(row: list[str]) -> None:
    promise, _, claimed, tests = row
    files = [ROOT / name for name in re.findall(r"`(tests/[\w/]+\.py)`", tests)]
    assert files, promise
    has = [suites_of(file) for file in files]
    wanted = set(claimed.split(", "))
    assert wanted <= set().union(*has)
    for file, suites in zip(files, has, strict=True):
        assert suites & wanted, file
