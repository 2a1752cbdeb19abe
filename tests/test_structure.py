"""The limits that keep the code readable: sizes, collaborators, one class for one name, words."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "orchestrator"
MOST_LINES = 450
MOST_LINES_OF_A_FUNCTION = 60
MOST_COLLABORATORS = 6
ELSEWHERE = re.compile(
    r"[Ss]ee the module's (text|docstring)|\bdesign §|\(practice [A-D]\d|house\.md|\bissue \d+"
)
"""What a reader of the repository alone cannot follow."""
ONE_DESK = ("utils", "util", "helpers", "common", "manager", "misc")


@cache
def trees() -> dict[Path, ast.Module]:
    folders = (PACKAGE, ROOT / "trials")
    return {
        path.relative_to(ROOT): ast.parse(path.read_text())
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
    }


def nodes(kind: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path, tree in trees().items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, kind))


def test_no_file_is_too_long() -> None:
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in trees()}
    assert {str(path): count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("kind", [ast.FunctionDef, ast.AsyncFunctionDef])
def test_no_function_is_too_long(kind: type[ast.FunctionDef | ast.AsyncFunctionDef]) -> None:
    long = {}
    for path, node in nodes(kind):
        assert isinstance(node, kind)
        assert node.end_lineno is not None
        count = node.end_lineno - node.lineno + 1
        if count > MOST_LINES_OF_A_FUNCTION:
            long[f"{path}:{node.name}"] = count
    assert long == {}


def test_no_class_is_built_from_too_many_of_ours() -> None:
    crowded = {}
    for path, node in nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        ours = _ours(trees()[path])
        for made in node.body:
            if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                given = [*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs]
                count = sum(bool(_names(one.annotation) & ours) for one in given)
                if count > MOST_COLLABORATORS:
                    crowded[f"{path}:{node.name}"] = count
    assert crowded == {}


def _ours(tree: ast.Module) -> set[str]:
    """Return the classes that a module defines or imports from the package."""
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    imported = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orchestrator")
        for name in node.names
    }
    return {name for name in defined | imported if name[:1].isupper()}


def _names(annotation: ast.expr | None) -> set[str]:
    if annotation is None:
        return set()
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}


def test_no_two_classes_of_one_name() -> None:
    places = defaultdict(list)
    for path, tree in trees().items():
        if path.parts[0] == "orchestrator":
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_module_is_called_by_nothing() -> None:
    assert [str(path) for path in trees() if path.stem in ONE_DESK] == []


def test_nothing_refers_to_what_is_not_in_the_repository() -> None:
    found = {str(path): ELSEWHERE.findall((ROOT / path).read_text()) for path in trees()}
    assert {path: words for path, words in found.items() if words} == {}
