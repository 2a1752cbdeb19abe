"""When drivers drove a study, read off all of its journal or off what a snapshot has passed over."""

from __future__ import annotations

from pathlib import Path

from orchestrator.record.events import Noted, StudyStarted
from orchestrator.record.journal import Journal, Line, read_journal
from orchestrator.record.spells import Spells, spells, spells_of
from orchestrator.record.storage import Storage

START = StudyStarted("hash", 1, "new")
TIMES = [(100.0, 160.0), (1000.0, 1030.0), (5000.0, 5001.0)]


def test_the_time_between_two_drivers_does_not_count() -> None:
    lines = [Line(t, 0, event) for a, b in TIMES for t, event in ((a, START), (b, Noted("x")))]
    found = spells_of(lines)
    assert found == Spells(100.0, 90.0, 5000.0)
    assert found.wall_s(5001.0) == 91.0
    assert spells_of([]) is None
    assert spells_of([Line(5.0, 0, Noted("x"))]) == Spells(5.0, 0.0, 5.0)  # damaged where it began
    backwards = spells_of([Line(9.0, 0, START), Line(3.0, 0, START)])
    assert backwards is not None
    assert backwards.wall_s(1.0) == 0.0


def test_what_a_snapshot_has_passed_over_is_searched(tmp_path: Path) -> None:
    storage, now = Storage.open(tmp_path), [0.0]
    for a, b in TIMES:
        journal = Journal(storage, "journal.jsonl", lambda: now[0])
        now[0] = a
        journal.append(START, Noted('said "event":"plan" and more'), Noted("x"))
        now[0] = b
        journal.append(Noted("x"))
        mark = journal.mark
        journal.close()
    whole = read_journal(storage, "journal.jsonl")
    later = read_journal(storage, "journal.jsonl", mark=mark)
    assert (whole.earlier, later.earlier) == (0, len(whole.lines))
    assert spells(storage, later) == spells(storage, whole) == Spells(100.0, 90.0, 5000.0)
