"""The fault table that people read is the one that was measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_shows_the_measured_rows() -> None:
    spec = importlib.util.spec_from_file_location("reliability", DOCS / "reliability.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    parts = json.loads((DOCS / "reliability.json").read_text())
    assert f"<!-- faults -->\n{script.table(parts)}<!-- end -->" in (DOCS / "reliability.md").read_text()
    rows = [row for part in parts.values() for row in part]
    assert {row["cells_lost"] for row in rows} == {0}
