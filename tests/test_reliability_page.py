"""The fault table that people read is the one that was measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

from orchestrator.decide.faults import FaultKind

DOCS = Path(__file__).parents[1] / "docs"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reliability", DOCS / "reliability.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_show_what_was_measured() -> None:
    page = (DOCS / "reliability.md").read_text()
    for name, drawn in script().blocks().items():
        assert f"<!-- {name} -->\n{drawn}<!-- end -->" in page


def test_no_cell_was_lost() -> None:
    parts = json.loads((DOCS / "reliability.json").read_text())
    assert {row["cells_lost"] for part in parts.values() for row in part} == {0}
    chaos = json.loads((DOCS / "chaos.json").read_text())
    assert chaos["wrong"] == []
    assert chaos["faults"] >= 50
    assert chaos["cells"] >= 60


def test_the_causes_are_those_of_the_code() -> None:
    page = (DOCS / "reliability.md").read_text()
    table = page.partition("<!-- causes -->\n")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    words = {True: "yes", False: "no"}
    assert [row[:4] for row in rows] == [
        [str(kind), str(kind.cause), words[kind.retried], words[kind.counts]] for kind in FaultKind
    ]
    assert all(row[4] for row in rows)


def test_the_journal_schema_knows_every_fault() -> None:
    schema = json.loads((DOCS / "journal.schema.json").read_text())
    assert schema["$defs"]["failure"]["properties"]["fault"]["$ref"] == "#/$defs/FaultKind"
    assert schema["$defs"]["FaultKind"]["enum"] == [str(kind) for kind in FaultKind]
