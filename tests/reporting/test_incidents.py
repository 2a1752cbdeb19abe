"""What has gone wrong on the way of a study, followed line by line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.api.recorded import open_study
from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause
from orchestrator.record.events import AttemptFailed, Event, Noted, Started, StudyStarted
from orchestrator.record.journal import Line
from orchestrator.record.journalparts import lines_with
from orchestrator.reporting.incidents import LATEST, OF_INCIDENTS, IncidentReader, Incidents, counts_for

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"


def told(*happened: Event) -> Incidents:
    reader = IncidentReader()
    reader.take(Line(float(t), 1, event) for t, event in enumerate(happened, 1))
    return reader.incidents()


def start(cell: str, attempt: int, step: int | None = None) -> Started:
    return Started(cell, attempt, "lane-0", ("CPU",), step)


def fail(cell: str, attempt: int, kind: FaultKind, *, again: bool = True) -> AttemptFailed:
    return AttemptFailed(cell, attempt, kind.cause, "why", again, "node", kind)


def test_each_failure_says_how_it_went_on() -> None:
    incidents = told(
        StudyStarted("hash", 2, "new"),
        start("a", 1),
        fail("a", 1, FaultKind.WORKER_KILLED),
        start("b", 1),
        fail("b", 1, FaultKind.WORKER_KILLED),
        start("a", 2, 40),
        fail("a", 2, FaultKind.EXCEPTION, again=False),
    )
    assert [(one.cell, one.attempt, one.went_on, one.step, one.t) for one in incidents.latest] == [
        ("a", 2, False, None, 7.0),
        ("b", 1, False, None, 5.0),
        ("a", 1, True, 40, 3.0),
    ]
    assert incidents.failed == {FaultKind.WORKER_KILLED: 2, FaultKind.EXCEPTION: 1}
    assert (incidents.again[FaultKind.WORKER_KILLED], incidents.again[FaultKind.EXCEPTION]) == (2, 0)
    assert (incidents.began, incidents.resumed, incidents.under_way) == (1.0, 1, {})


def test_attempts_under_way_are_those_of_the_driver_that_lives() -> None:
    incidents = told(start("a", 1), StudyStarted("hash", 2, "resume"), start("b", 2, 7))
    assert {cell: (one.attempt, one.step, one.lane) for cell, one in incidents.under_way.items()} == {
        "b": (2, 7, "lane-0")
    }


def test_nodes_that_are_lost_are_counted_and_what_is_kept_is_bounded() -> None:
    notes = [Noted(f"node 10.0.0.{number} (aa) is lost") for number in range(20)]
    incidents = told(*notes, Noted("node 10.0.0.1 (aa) has joined"), Noted("no-a seed 0: node 3 is lost"))
    assert incidents.nodes_lost == 20
    assert (len(incidents.nodes), incidents.nodes[0]) == (LATEST, (21.0, "node 10.0.0.1 (aa) has joined"))
    many = [fail("a", number, FaultKind.HANG) for number in range(1, 100)]
    assert len(told(*many).latest) == LATEST


def test_journals_of_earlier_versions_name_the_cause_only() -> None:
    old = AttemptFailed("a", 1, Cause.INFRA, "why", again=True, node=None)
    gone = AttemptFailed("a", 2, Cause.INFRA, "why", again=True, node=None, preempted=True)
    assert told(old, gone).failed == {FaultKind.UNKNOWN: 1, FaultKind.PREEMPTED: 1}


@pytest.mark.parametrize("name", ["failures", "resumed", "changed-code", "asha", "replaced"])
def test_what_counts_is_found_without_decoding_the_rest(tmp_path: Path, name: str) -> None:
    view = open_study(name, str(RECORDS)).view()
    whole = IncidentReader()
    whole.take(view.journal.lines)
    running = set(whole.incidents().under_way)
    lines = list(lines_with(view.storage, view.journal, OF_INCIDENTS, counts_for(running)))
    some = IncidentReader()
    some.take(lines)
    assert len(lines) < len(view.journal.lines)
    found = some.incidents()  # without ends, what ran on from a checkpoint stays
    under_way = {cell: begun for cell, begun in found.under_way.items() if cell in running}
    assert replace(found, under_way=under_way) == whole.incidents()
