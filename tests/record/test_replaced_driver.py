"""A driver that lost its lease: what it still writes does not count, and it hears of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.states import TrialState
from orchestrator.errors import StudyHeld
from orchestrator.record.events import Assigned, Noted, StudyStarted, TrialEnd
from orchestrator.record.journal import JournalContents, Line, read_journal, without_late
from orchestrator.record.state import fold
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import Cell, make_plan
from orchestrator.study.spec import StudySpec

SPEC = StudySpec.model_validate(
    {
        "name": "digits",
        "entrypoint": "trials.digits:Digits",
        "metric": {"name": "val/accuracy", "mode": "max"},
        "baseline": {"norm": True},
        "components": {"norm": {"without": {"norm": False}}},
        "seeds": 2,
        "stopping": {"max": 8},
    }
)
PLAN = make_plan(SPEC)
FIRST = PLAN.cells[0]
NOW = 1_700_000_000.0
ELSEWHERE = {"host": "another", "pid": 7, "started": "1"}


def drive(storage: Storage, now: float = NOW) -> StudyRecord:
    """A driver of another host: its heartbeat alone tells whether it lives."""
    return StudyRecord.open(storage, SPEC, PLAN, Start("c0", owner=ELSEWHERE), clock=lambda: now)


def assign(record: StudyRecord, cell: Cell, attempt: int) -> None:
    record.append(Assigned(cell.cell, cell.arm, cell.seed, attempt, None, None))
    record.sync()


def end(record: StudyRecord, cell: Cell, attempt: int, value: float) -> None:
    who = (cell.cell, cell.arm, cell.seed, attempt)
    record.append(TrialEnd(*who, TrialState.DONE, None, None, 8.0, value, 1.0, 0.0))
    record.sync()


def values(storage: Storage, record: StudyRecord) -> dict[str, float | None]:
    history = fold(read_journal(storage, record.paths.journal).events, PLAN)
    assert history.problems == []
    return {name: cell.value for name, cell in history.cells.items() if cell.state is TrialState.DONE}


def test_late_lines_do_not_count_and_overwrite_nothing(storage: Storage) -> None:
    old = drive(storage)
    assign(old, FIRST, 1)
    new = drive(storage, NOW + 60)
    assert new.state.cells[FIRST.cell].attempts == 1
    assign(new, FIRST, 2)
    with pytest.raises(StudyHeld, match="was lost"):
        end(old, FIRST, 1, 0.1)
    for _ in range(2):
        with pytest.raises(StudyHeld):
            old.append(Noted("more"))
    old.close()
    end(new, FIRST, 2, 0.2)
    assert values(storage, new) == {FIRST.cell: 0.2}
    assert read_journal(storage, new.paths.journal).late == 1
    new.lease.beat()
    new.close()

    third = drive(storage, NOW + 120)
    assert third.state.cells[FIRST.cell].value == 0.2
    assert "do not count" in read_journal(storage, third.paths.journal).lines[-1].plain()["text"]
    third.close()


def test_an_attempt_number_is_given_out_once(storage: Storage) -> None:
    """A start is on the disk before the lease is looked at: whoever takes it later reads of the start."""
    old = drive(storage)
    new = drive(storage, NOW + 60)
    assert (old.lease.driver, new.lease.driver) == (1, 2)
    with pytest.raises(StudyHeld):
        assign(old, FIRST, 1)  # so it never leaves the driver
    assign(new, FIRST, 1)
    lines = read_journal(storage, new.paths.journal).lines
    assert [line.driver for line in lines if isinstance(line.event, Assigned)] == [2]


def test_a_fresh_study_has_higher_numbers_than_the_one_that_was_moved_away(storage: Storage) -> None:
    old = drive(storage)
    moved = StudyRecord.open(
        storage, SPEC, PLAN, Start("c0", fresh=True, owner=ELSEWHERE), clock=lambda: NOW + 60
    )
    assert moved.lease.driver > old.lease.driver


DRIVER = """
import sys
from test_replaced_driver import FIRST, StudyHeld, Storage, assign, drive, end
record = drive(Storage.open(sys.argv[1]))
assign(record, FIRST, 1)
print("stop me", flush=True)
sys.stdin.readline()
try:
    end(record, FIRST, 1, 0.1)
except StudyHeld as error:
    print(error, flush=True)
    record.close()
    sys.exit(error.exit_code)
"""


@pytest.mark.slow
def test_two_processes_of_which_one_stands_still_until_it_is_replaced(local: Storage) -> None:
    here = Path(__file__).parent
    path = f"{here}{os.pathsep}{here.parents[1]}"
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, local.uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as stopped:
        assert stopped.stdin is not None
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "stop me\n"
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
        new = drive(local, NOW + 60)
        assign(new, FIRST, 2)
        stopped.send_signal(signal.SIGCONT)
        said, _ = stopped.communicate("go on\n")
    assert stopped.returncode == 4
    assert "the lease of digits was lost" in said
    end(new, FIRST, 2, 0.2)
    end_of = values(local, new)
    assert end_of == {FIRST.cell: 0.2}
    new.lease.beat()
    new.close()


@given(steps=st.lists(st.none() | st.integers(0, 4), max_size=30))
def test_what_counts_is_what_the_newest_driver_has_read_or_written(steps: list[int | None]) -> None:
    """None: another driver takes over; a number: that driver, replaced or not, writes a line."""
    journal: list[Line] = []
    count: list[Line] = []
    drivers = 0
    for number, step in enumerate([None, *steps]):
        if step is None:
            drivers += 1
            seen = without_late(journal)
            assert seen == count
            taken = JournalContents(tuple(seen)).by_driver()
            line = Line(number, drivers, StudyStarted("hash", 1, "resume", (), taken))
        else:
            line = Line(number, 1 + step % drivers, Noted(str(number)))
        journal.append(line)
        if line.driver == drivers:
            count.append(line)
    assert without_late(journal) == count
    by_driver = sorted(journal, key=lambda line: line.driver)  # as the segments of an object store
    assert without_late(by_driver) == sorted(count, key=lambda line: line.driver)
