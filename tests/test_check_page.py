"""The table of the examples' gates that people read is the one that was run."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_shows_what_the_gates_said() -> None:
    spec = importlib.util.spec_from_file_location("check", DOCS / "check.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rows = json.loads((DOCS / "check.json").read_text(encoding="utf-8"))
    page = (DOCS / "check.md").read_text(encoding="utf-8")
    assert f"<!-- examples -->\n{script.table(rows)}<!-- end -->" in page
    assert tuple(row["study"] for row in rows) == script.STUDIES
    assert [row["study"] for row in rows if row["failed"]] == []
