"""The verdict sees what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import study_text
from verdict import ends_wrong
from workbench import Bench

from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, TrialEnd
from orchestrator.record.journal import Journal


@pytest.fixture
def study(tmp_path: Path) -> Bench:
    study = Bench(tmp_path, None, study_text(arms=2, seeds=1, epochs=3))
    study.storage_root.mkdir()
    (study.code / "restless.py").touch()
    return study


def happen(study: Bench, *events: tuple[str, int, str]) -> None:
    """(arm, attempt, how it ended, or nothing: it was assigned)."""
    journal = Journal(study.storage, study.paths.journal)
    cells = {cell.arm: cell.cell for cell in study.plan().cells}
    for arm, attempt, how in events:
        who = (cells[arm], arm, 0, attempt)
        if how:
            journal.append(TrialEnd(*who, TrialState(how), None, None, 3.0, 0.5, 1.0, 0.0))
        else:
            journal.append(Assigned(*who, None, None))
    journal.close()


def test_a_lost_cell_a_doubled_one_and_an_attempt_given_out_twice(study: Bench) -> None:
    happen(
        study,
        ("baseline", 1, ""),
        ("baseline", 1, "done"),
        ("baseline", 1, ""),
        ("baseline", 1, "done"),
        ("no-mixup", 1, ""),
        ("no-mixup", 1, "cancelled"),
    )
    found = ends_wrong(study)
    assert [line.partition(": ")[2] for line in found[:2]] == ["ended 2 times", "ended 0 times"]
    assert found[2].startswith("attempt 1 of ")
    assert len(found) == 3


def test_cells_that_were_interrupted_and_then_done_are_right(study: Bench) -> None:
    happen(
        study,
        ("baseline", 1, ""),
        ("baseline", 1, "cancelled"),
        ("baseline", 2, ""),
        ("baseline", 2, "done"),
        ("no-mixup", 1, ""),
        ("no-mixup", 1, "done"),
    )
    assert ends_wrong(study) == []
