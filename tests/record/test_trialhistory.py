"""The attempts of one trial, out of the journal of its study."""

from __future__ import annotations

from pathlib import Path

from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.events import Assigned, AttemptFailed, Event, Noted, Reopened, Started, TrialEnd
from orchestrator.record.journal import Journal, read_journal
from orchestrator.record.storage import Storage
from orchestrator.record.trialhistory import Attempt, attempts_of, earlier_lines_of, lines_of

CELL, OTHER = "ab" * 6, "cd" * 6
HAPPENED: tuple[Event, ...] = (
    Assigned(CELL, "a", 0, 1, "lane-0", None),
    Assigned(OTHER, "a", 1, 1, "lane-1", None),
    Started(CELL, 1, "lane-2", ("CPU",), None),
    Noted(f"{CELL} is no event of it"),
    AttemptFailed(CELL, 1, Cause.INFRA, "the node went away", again=True, node="node-7"),
    Assigned(CELL, "a", 0, 2, None, None),
    Started(CELL, 2, "lane-0", ("A100",), 40),
    TrialEnd(CELL, "a", 0, 2, TrialState.DONE, None, None, 3.0, 0.5, 1.0, 0.0),
    Reopened(CELL, "a", 0, TrialState.DONE, "somebody"),
    Assigned(CELL, "a", 0, 3, "lane-0", None),
    AttemptFailed(CELL, 3, Cause.USER, "it raised", again=False, node=None),
    TrialEnd(CELL, "a", 0, 3, TrialState.FAILED, Cause.USER, "it raised", 1.0, None, 1.0, 0.0),
    TrialEnd(OTHER, "a", 1, 0, TrialState.SKIPPED, None, "no need", None, None, 0.0, 0.0),
)


def written(tmp_path: Path) -> tuple[Storage, Journal]:
    storage = Storage.open(tmp_path)
    times = iter(range(1, 100))
    return storage, Journal(storage, "s/journal.jsonl", clock=lambda: float(next(times)))


def test_attempts_have_a_beginning_an_end_and_a_reason(tmp_path: Path) -> None:
    storage, journal = written(tmp_path)
    for event in HAPPENED:
        journal.append(event)
    journal.close()
    contents = read_journal(storage, "s/journal.jsonl")
    first = Attempt(
        *(1, 1.0, "lane-2", None, ("CPU",), 5.0, "failed, to be tried again"),
        *("infra", "the node went away", "node-7"),
    )
    assert attempts_of(lines_of(contents, CELL)) == [
        first,
        Attempt(2, 6.0, "lane-0", 40, ("A100",), 8.0, "done"),
        Attempt(3, 10.0, "lane-0", None, (), 11.0, "failed", "user", "it raised", None, "somebody"),
    ]
    assert attempts_of(lines_of(contents, OTHER)) == [Attempt(1, 2.0, "lane-1")]


def test_lines_that_were_passed_over_are_found(tmp_path: Path) -> None:
    storage, journal = written(tmp_path)
    journal.append(*HAPPENED[:6])
    journal.sync()
    mark = journal.mark
    journal.append(*HAPPENED[6:])
    journal.close()
    whole, late = (read_journal(storage, "s/journal.jsonl", mark=known) for known in (None, mark))
    assert (whole.earlier, late.earlier) == (0, 6)
    assert earlier_lines_of(storage, whole, CELL) == ()
    for cell in (CELL, OTHER, "none", ""):
        found = earlier_lines_of(storage, late, cell) + lines_of(late, cell)
        assert found == lines_of(whole, cell)
