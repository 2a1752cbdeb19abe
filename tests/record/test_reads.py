"""The journal is read once per start, however often a start has to look at it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from orchestrator.record.events import Assigned, Noted, StudyStarted
from orchestrator.record.layout import StudyPaths
from orchestrator.record.recorded import read_record, read_study
from orchestrator.record.run import Run
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord, reconcile
from orchestrator.study.cells import make_plan
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
PLAN, PATHS, START = make_plan(SPEC), StudyPaths.of("digits"), Start("c0")


@dataclass(frozen=True)
class CountedStorage(Storage):
    """Counts how often each part of a journal is read, and how many bytes of it."""

    reads: Counter[str] = field(default_factory=Counter, compare=False)
    bytes_read: Counter[str] = field(default_factory=Counter, compare=False)

    def read_bytes(self, relative: str, *, written_once: bool = False, start: int = 0) -> bytes:
        data = super().read_bytes(relative, written_once=written_once, start=start)
        if "journal.jsonl" in relative:
            self.reads[relative] += 1
            self.bytes_read[relative] += len(data)
        return data


def counted(storage: Storage) -> CountedStorage:
    return CountedStorage(storage.backend, storage.patience_s)


def test_a_start_reads_the_journal_once(storage: Storage) -> None:
    for text in ("first", "second"):
        record = StudyRecord.open(storage, SPEC, PLAN, START)
        record.append(Noted(text))
        record.close()
    spy = counted(storage)
    found = read_record(spy, PATHS)  # as the driver: it refuses what it can before it starts Ray
    assert found is not None
    assert reconcile(found, SPEC, PLAN, START).how == "resume"
    assert len(found.state_of(PLAN).remaining()) == len(PLAN.cells)
    record = StudyRecord.open(spy, SPEC, PLAN, START, found=found)
    assert (record.how, record.lease.driver) == ("resume", 3)
    record.close()
    assert set(spy.reads.values()) == {1}
    assert list(spy.reads) == list(found.journal.parts)


def test_a_reader_reads_it_once(storage: Storage) -> None:
    StudyRecord.open(storage, SPEC, PLAN, START).close()
    spy = counted(storage)
    found = read_study(spy, "digits")
    assert (found.plan, found.current_code, len(found.state.cells)) == (PLAN, "c0", len(PLAN.cells))
    assert set(spy.reads.values()) == {1}


def test_a_reader_that_looks_again_reads_what_is_new(storage: Storage) -> None:
    record = StudyRecord.open(storage, SPEC, PLAN, START)
    spy = counted(storage)
    run = Run(spy, PATHS)
    first = run.view()
    assert run.view() is first
    assert set(spy.reads.values()) == {1}
    record.append(Noted("more"))
    record.close()
    assert list(run.view().journal.events)[-1] == Noted("more")


def test_a_journal_that_has_grown_is_read_on_from_its_end(storage: Storage) -> None:
    record = StudyRecord.open(storage, SPEC, PLAN, START)
    record.append(*(Noted(f"note {number}") for number in range(500)))
    record.sync()
    spy = counted(storage)
    run = Run(spy, PATHS)
    first = run.view()
    state, whole = first.state, spy.bytes_read.total()
    cell = PLAN.cells[0]
    record.append(Assigned(cell.cell, cell.arm, cell.seed, 1, None, None))
    record.close()
    later = run.view()
    assert spy.bytes_read.total() < whole + 1000
    assert later.registered is first.registered
    assert later.state.cells[cell.cell].attempts == 1
    assert state.cells[cell.cell].attempts == 0  # whoever still holds the earlier look sees no other study
    assert later.state.cells[PLAN.cells[1].cell] is state.cells[PLAN.cells[1].cell]


def test_another_journal_in_the_same_place_is_read_anew(local: Storage) -> None:
    StudyRecord.open(local, SPEC, PLAN, START).close()
    run = Run(local, PATHS)
    run.view()
    fresh = StudyRecord.open(local, SPEC, PLAN, replace(START, fresh=True), clock=lambda: 2e9)
    fresh.append(Noted("of the new one"))
    fresh.close()
    events = list(run.view().journal.events)
    assert [type(event) for event in events] == [StudyStarted, Noted]


def test_what_another_driver_wrote_in_between_is_read(storage: Storage) -> None:
    StudyRecord.open(storage, SPEC, PLAN, START).close()
    found = read_record(storage, PATHS)
    between = StudyRecord.open(storage, SPEC, PLAN, START)
    between.append(Noted("in between"))
    between.close()
    record = StudyRecord.open(storage, SPEC, PLAN, START, found=found)
    assert record.lease.driver == 3
    assert Noted("in between") in list(record.journal.contents.events)
    record.close()
