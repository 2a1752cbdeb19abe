"""A snapshot spares reading, and changes nothing of what is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.decide.states import Cause, TrialState
from orchestrator.errors import StudyError
from orchestrator.record import snapshot
from orchestrator.record.events import (
    Assigned,
    AttemptFailed,
    BatchAdded,
    Checkpointed,
    Decided,
    Event,
    LookTaken,
    Noted,
    Reopened,
    Reported,
    Started,
    StudyStarted,
    TrialEnd,
)
from orchestrator.record.journal import Journal
from orchestrator.record.journalparts import newest_first
from orchestrator.record.layout import StudyPaths
from orchestrator.record.recorded import RecordedStudy, read_record, read_study
from orchestrator.record.snapshot import SnapshotWriter, read_snapshot
from orchestrator.record.state import fold
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import Batch, Cell, make_plan
from orchestrator.study.spec import StudySpec

SPEC = StudySpec.model_validate(
    {
        "name": "s",
        "entrypoint": "trial:train",
        "metric": {"name": "loss", "mode": "min"},
        "baseline": {"a": 1, "b": 1},
        "components": {name: {"without": {name: 0}} for name in ("a", "b")},
        "seeds": 2,
        "stopping": {"max": 8},
    }
)
PLAN, PATHS = make_plan(SPEC), StudyPaths.of("s")
RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
NEW = Cell("ab" * 6, "no-a", 7, "tune", 3, {"b": 2.5})
CELLS = [*(cell.cell for cell in PLAN.cells[:3]), NEW.cell, "elsewhere"]
FROZEN = "2b29795dd23a77a2"
"""Of what there is of some old records. Where it changes, so does what a snapshot says: raise `VERSION`."""


@pytest.fixture(autouse=True)
def _every_journal_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SHORTEST", 1)


CELL, NUMBER = st.sampled_from(CELLS), st.sampled_from([None, 0.5, 2, 3.0, float("nan"), float("inf")])
FINITE = st.sampled_from([1, 2.0, 0.25, 1e300])
WORD = st.sampled_from(["", "why", 'ü "\\u0041\n', "nan", "9" * 20])
WORDS = st.lists(WORD, max_size=2).map(tuple)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Assigned, CELL, WORD, st.just(0), st.integers(1, 3), WORD, st.none(), st.none() | WORD),
    st.builds(Started, CELL, st.integers(1, 3), WORD, WORDS, st.none() | st.just(4)),
    st.builds(Reported, CELL, WORD, st.just(1), NUMBER, NUMBER, NUMBER, NUMBER, st.just({})),
    st.builds(
        *(Decided, CELL, st.sampled_from(["stop", "continue"]), st.none() | st.just(TrialState.STOPPED)),
        *(WORD, NUMBER, NUMBER, st.none() | st.just(2), st.just(3), WORD),
    ),
    st.builds(Checkpointed, CELL, st.just(1), WORD, st.just(5), FINITE, NUMBER),
    st.builds(
        *(AttemptFailed, CELL, st.just(1), st.sampled_from(Cause), WORD, st.booleans(), st.none()),
        wall_s=st.just(1.5),
    ),
    st.builds(
        *(TrialEnd, CELL, WORD, st.just(0), st.integers(0, 3), st.sampled_from(TrialState)),
        *(st.none() | st.sampled_from(Cause), WORD, NUMBER, NUMBER, st.just(2.0), st.just(0.0)),
        imported=WORDS,
        beside=st.dictionaries(WORD, NUMBER.filter(lambda number: number is not None), max_size=2),
        wrote=WORDS,
        shared=WORDS,
        curve=st.lists(NUMBER, max_size=2).map(tuple),
    ),
    st.builds(Reopened, CELL, WORD, st.just(0), st.sampled_from(TrialState), WORD),
    st.builds(Noted, WORD, code_hash=st.none() | WORD),
    st.builds(
        *(LookTaken, st.just("fixed"), st.just(0), st.just("no-a"), st.just(2), st.just(2)),
        *(st.just("continue"), *[NUMBER.map(lambda n: n and float(n))] * 6, st.none()),
    ),
    st.just(BatchAdded.of(Batch("search", (), (NEW,)))),
)
DAMAGE = st.none() | st.tuples(st.floats(0, 1), st.sampled_from([b"", b"0", b"{", b"\n", b"\xff"]))


def damaged(data: bytes, what: tuple[float, bytes] | None) -> bytes:
    """Cut off somewhere, or with another byte there."""
    if what is None:
        return data
    place, byte = int(what[0] * len(data)), what[1]
    return data[:place] + (byte + data[place + 1 :] if byte else b"")


def comparable(value: Any) -> Any:
    """Numbers as words, since NaN is not NaN, and 2 is 2.0."""
    if isinstance(value, dict):
        return [(comparable(key), comparable(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    return repr(float(value)) if isinstance(value, int | float) else value


def told(found: RecordedStudy) -> tuple[Any, ...]:
    """All that a reader has of it."""
    state, journal = comparable(asdict(found.state)), found.journal
    return state, journal.seen, journal.torn, journal.damaged, journal.parts, journal.last_driver


def same_as_whole(storage: Storage) -> RecordedStudy | None:
    """Return what a reader has read, which is what the whole journal says."""
    try:
        whole = read_record(storage, PATHS)
        assert whole is not None
        expected = told(whole)
    except StudyError as error:
        with pytest.raises(type(error)):
            read_study(storage, "s")
        return None
    found = read_study(storage, "s")
    assert told(found) == expected
    assert repr(list(newest_first(storage, found.journal))) == repr([*reversed(whole.journal.lines)])
    return found


NAN = float("nan")
UNNUMBERED = Reported(CELLS[0], "", 1, NAN, None, NAN, None, {})  # a rung that nothing is found under


@pytest.mark.slow
@example([UNNUMBERED, UNNUMBERED], [], None, None)
@given(st.lists(EVENTS, max_size=15), st.lists(EVENTS | st.none(), max_size=6), DAMAGE, DAMAGE)
def test_a_snapshot_and_what_came_later_are_the_whole_journal(
    first: list[Event],
    later: list[Event | None],
    of_snapshot: tuple[float, bytes] | None,
    of_journal: tuple[float, bytes] | None,
) -> None:
    with TemporaryDirectory() as folder:
        storage = Storage.open(folder)
        StudyRecord.open(storage, SPEC, PLAN, Start("c0")).close()
        journal = Journal(storage, PATHS.journal, lambda: 1.0, driver=1)
        journal.append(*first)
        state = fold([*journal.contents.events, *first], PLAN)
        assert journal.mark is not None
        SnapshotWriter(storage, PATHS, PLAN).write(journal.mark, state)
        for event in later:  # None: another start
            journal.append(event or StudyStarted("h", 3, "resume", ("baseline", "no-a", "no-b"), {"1": 3}))
        journal.close()
        for path, what in ((PATHS.snapshot, of_snapshot), (PATHS.journal, of_journal)):
            with suppress(FileNotFoundError):
                storage.write_atomic(path, damaged(storage.read_bytes(path), what))
        same_as_whole(storage)


def driven(storage: Storage, *happened: Event, close: bool = True) -> StudyRecord:
    record = StudyRecord.open(storage, SPEC, PLAN, Start("c0"))
    for event in happened:
        record.append(event)
        record.sync()
    if close:
        record.close()
    return record


def one(number: int, value: float) -> Iterator[Event]:
    cell = PLAN.cells[number]
    yield Assigned(cell.cell, cell.arm, cell.seed, 1, None, None)
    how = (TrialState.DONE, None, None, 8.0, value, 1.0, 0.0)
    yield TrialEnd(cell.cell, cell.arm, cell.seed, 1, *how)


def test_readers_take_in_what_is_new_since_the_driver_kept_one(storage: Storage) -> None:
    record = driven(storage, *one(0, 0.5), close=False)
    found = same_as_whole(storage)
    assert found is not None
    assert (found.journal.earlier, len(found.journal.lines)) == (3, 0)
    cell = PLAN.cells[1]
    record.snapshots.write = lambda *_: None  # type: ignore[method-assign]  # as if it were not due
    record.append(Assigned(cell.cell, cell.arm, cell.seed, 1, None, None))
    record.close()
    again = found.again()
    assert (again.journal.earlier, len(again.journal.lines)) == (3, 1)
    assert again.state.cells[cell.cell].state is TrialState.RUNNING
    assert told(again) == told(read_study(storage, "s"))
    assert again.current_code == "c0"
    driven(storage, *one(2, 0.75))
    last = same_as_whole(storage)
    assert last is not None
    assert (last.journal.earlier, len(last.journal.lines)) == (7, 0)
    assert told(again.again()) == told(last)


def test_a_driver_itself_reads_the_journal(storage: Storage) -> None:
    driven(storage, *one(0, 0.5))
    found = read_study(storage, "s")
    assert found.journal.earlier
    record = StudyRecord.open(storage, SPEC, PLAN, Start("c0"), found=found)
    assert len(record.journal.contents.lines) == 3
    record.close()
    same_as_whole(storage)


@pytest.mark.parametrize("path", [PATHS.plan_json, PATHS.snapshot])
def test_a_snapshot_of_something_else_is_passed_over(local: Storage, path: str) -> None:
    driven(local, *one(0, 0.5))
    text = local.read_text(path)
    local.write_atomic(
        path, text + "\n" if path == PATHS.plan_json else text.replace('"version":1', '"version":0', 1)
    )
    found = same_as_whole(local)
    assert found is not None
    assert found.journal.earlier == 0


def test_a_short_journal_needs_none(local: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    driven(local, *one(0, 0.5))
    assert read_snapshot(local, PATHS) is None


def test_what_is_kept_is_of_this_version() -> None:
    """Old records come to what they came to when the version was given."""
    storage, digest = Storage.open(RECORDS), hashlib.sha256()
    for name in ("asha", "changed-code", "extended", "failures", "pairs-auto", "resolve-reinvest", "tune"):
        found = read_record(storage, StudyPaths(name))
        assert found is not None
        kept = snapshot.lines_of(found.state, found.registered)
        digest.update(b"\n".join(kept))
    assert (snapshot.VERSION, digest.hexdigest()[:16]) == (1, FROZEN)
