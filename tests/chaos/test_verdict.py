"""The verdict sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import study_text
from verdict import ends_wrong
from workbench import Bench

from orchestrator.record.journal import Journal


@pytest.fixture
def study(tmp_path: Path) -> Bench:
    study = Bench(tmp_path, None, study_text(arms=2, seeds=1, epochs=3))
    study.storage_root.mkdir()
    (study.code / "restless.py").touch()
    return study


def happen(study: Bench, *events: tuple[str, str, dict[str, object]]) -> None:
    journal = Journal.open(study.storage, study.paths.journal)
    cells = {cell.arm: cell.cell for cell in study.plan().cells}
    for event, arm, fields in events:
        journal.append(event, cell=cells[arm], **fields)
    journal.close()


def test_a_lost_cell_a_doubled_one_and_an_attempt_given_out_twice(study: Bench) -> None:
    done, first = {"state": "done"}, {"attempt": 1}
    happen(
        study,
        ("assign", "baseline", first),
        ("end", "baseline", done),
        ("assign", "baseline", first),
        ("end", "baseline", done),
        ("assign", "no-mixup", first),
        ("end", "no-mixup", {"state": "cancelled"}),
    )
    found = ends_wrong(study)
    assert [line.partition(": ")[2] for line in found[:2]] == ["ended 2 times", "ended 0 times"]
    assert found[2].startswith("attempt 1 of ")
    assert len(found) == 3


def test_cells_that_were_interrupted_and_then_done_are_right(study: Bench) -> None:
    happen(
        study,
        ("assign", "baseline", {"attempt": 1}),
        ("end", "baseline", {"state": "cancelled"}),
        ("assign", "baseline", {"attempt": 2}),
        ("end", "baseline", {"state": "done"}),
        ("assign", "no-mixup", {"attempt": 1}),
        ("end", "no-mixup", {"state": "done"}),
    )
    assert ends_wrong(study) == []
