"""Rooms have doors: a module whose name begins with `_` is imported by its own room only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
WORD = re.compile(r"\w+")


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(name: str) -> str | None:
    """The room of the private module that is imported, `orchestrator.study.designs`; None of other names."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.startswith("_") and (ROOT.joinpath(*parts[: index + 1]).with_suffix(".py")).exists():
            return ".".join(parts[:index])
    return None


def test_private_modules_are_imported_by_their_room_only() -> None:
    strangers = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sorted((ROOT / "orchestrator").rglob("*.py"))
        for name in imports(file)
        if (home := room(name)) and not file.is_relative_to(ROOT / home.replace(".", "/"))
    ]
    assert strangers == []


def test_a_door_offers_nothing_that_nobody_takes() -> None:
    files = [file for top in ("orchestrator", "tests") for file in (ROOT / top).rglob("*.py")]
    words = {file: set(WORD.findall(file.read_text())) for file in files}
    doors = [file for file in files if file.name == "__init__.py" and not words[file] & {"__all__", "def"}]
    for door in doors:  # one with `__all__` is open to packages of others
        outside = set().union(*(found for file, found in words.items() if door.parent not in file.parents))
        offered = {name.rpartition(".")[2] for name in imports(door)}
        assert offered <= outside, f"{door.parent.relative_to(ROOT)} offers {offered - outside}"
