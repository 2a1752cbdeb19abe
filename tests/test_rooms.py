"""Rooms have doors: a module whose name begins with `_` is imported by its own room only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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


@pytest.mark.slow
def test_private_modules_are_imported_by_their_room_only() -> None:
    strangers = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sorted((ROOT / "orchestrator").rglob("*.py"))
        for name in imports(file)
        if (home := room(name)) and not file.is_relative_to(ROOT / home.replace(".", "/"))
    ]
    assert strangers == []
