"""The table of one study under every goal is the one that was run, and says what was planted."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from orchestrator.study.registered import GOALS

DOCS = Path(__file__).parents[1] / "docs"
RECORD = json.loads((DOCS / "goals.json").read_text(encoding="utf-8"))


def test_the_table_shows_what_was_run() -> None:
    spec = importlib.util.spec_from_file_location("goals", DOCS / "goals.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (DOCS / "statistics.md").read_text(encoding="utf-8")
    assert f"<!-- goals -->\n{script.table(RECORD)}<!-- end -->" in page
    assert set(script.STUDIES) == set(RECORD["studies"]) == {script.GRID, *GOALS}


def test_no_goal_contradicts_the_grid_or_what_was_planted() -> None:
    verdicts = {
        name: {arm: effect["verdict"] for arm, effect in study["effects"].items()}
        for name, study in RECORD["studies"].items()
    }
    for name, said in verdicts.items():
        assert said["numbering=descending"] not in ("hurts", "helps"), name
        assert "helps" not in said["labels=wrong"], name
        for arm, verdict in said.items():
            assert {verdict, verdicts["grid"][arm]} != {"hurts", "helps"}, (name, arm)
    assert RECORD["studies"]["save"]["runs"] < RECORD["studies"]["grid"]["runs"]
