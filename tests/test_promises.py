"""`docs/promises.md`: the tests that it names exist, and belong to the suites that it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "promises.md"
SUITES = ("fast", "test", "web", "cluster", "all")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
NOT_FAST = {
    ROOT / folder for folder in re.findall(r"^FAST := .*", MAKEFILE, re.MULTILINE)[0].split(" --ignore ")[1:]
}
"""Folders that `make test-fast` leaves out whole."""
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


def marks(node: ast.AST) -> set[str]:
    """Names after `pytest.mark` anywhere below the node, but for those of single parameters."""
    if _is_param(node):
        return set()
    found = set[str]().union(*map(marks, ast.iter_child_nodes(node)))
    named = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest.mark"
    return found | {node.attr} if named else found


def suites_of(file: Path) -> set[str]:
    """The suites that its tests, and single parameters of them, belong to."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assigned = {
        ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)
    }
    everywhere = marks(assigned["pytestmark"]) if "pytestmark" in assigned else set[str]()
    if NOT_FAST & set(file.parents):
        everywhere.add("slow")
    found = set[str]()
    for test in tree.body:
        if isinstance(test, (ast.FunctionDef, ast.AsyncFunctionDef)) and test.name.startswith("test_"):
            own = everywhere.union(*map(marks, test.decorator_list))
            found.add(suite(own))
            for call in filter(_is_param, (n for d in test.decorator_list for n in ast.walk(d))):
                found.add(suite(own.union(*map(marks, ast.iter_child_nodes(call)))))
    return found


def _is_param(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.param"


def test_every_suite_has_its_command_and_its_promises() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in SUITES if f"\n| {name} | `make " in text] == list(SUITES)
    assert {name for row in ROWS for name in row[2].split(", ")} == set(SUITES)


@pytest.mark.slow
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
