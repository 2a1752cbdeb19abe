"""Traces: what is drawn of a journal alone, and what `ablate --trace` adds. Nothing of it harms a study."""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from scene import Scene

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.inprocess import DriverKilled, PlantedFault
from orchestrator.errors import ExitCode
from orchestrator.record import spans
from orchestrator.record.events import (
    Assigned,
    AttemptFailed,
    Checkpointed,
    Event,
    Noted,
    Started,
    StudyStarted,
    TrialEnd,
)
from orchestrator.record.journal import Line
from orchestrator.record.spans import Span, SpanBuffer, SpanFile, TrialSpans, entered, read_spans
from orchestrator.record.storage import Storage
from orchestrator.record.storage.backend import Appender
from orchestrator.record.storage.directory import Directory
from orchestrator.reporting.trace import LANES, trace_events

CELLS = {"a" * 12: "baseline seed 0", "b" * 12: "high seed 0"}
A, B = CELLS


def rows(events: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Spans and instants by the names of their process and row; whatever is drawn nests."""
    events = list(events)
    names = {
        (one["pid"], one.get("tid")): one["args"]["name"]
        for one in events
        if one["ph"] == "M" and one["name"].endswith("_name")
    }
    found = defaultdict(list)
    for one in events:
        if one["ph"] in "Xi":
            found[f"{names[one['pid'], None]} / {names[one['pid'], one['tid']]}"].append(one)
    for row, drawn in found.items():
        assert nested(drawn), row
    return dict(found)


def nested(drawn: list[dict[str, Any]]) -> bool:
    around: list[int] = []
    for one in sorted((one for one in drawn if one["ph"] == "X"), key=lambda one: (one["ts"], -one["dur"])):
        while around and around[-1] <= one["ts"]:
            around.pop()
        end = one["ts"] + one["dur"]
        if one["dur"] <= 0 or (around and end > around[-1]):
            return False
        around.append(end)
    return True


def named(drawn: Iterable[dict[str, Any]]) -> list[str]:
    return [one["name"] for one in sorted(drawn, key=lambda one: one["ts"])]


def counter(events: Iterable[dict[str, Any]], name: str) -> list[float]:
    found = [one for one in events if one["ph"] == "C" and one["name"] == name]
    return [value for one in sorted(found, key=lambda one: one["ts"]) for value in one["args"].values()]


# ---- a journal alone -------------------------------------------------------------------------------------


def events_of(*happened: tuple[float, Event], kept: Iterable[tuple[int, Span]] = ()) -> list[dict[str, Any]]:
    return list(trace_events([Line(t, 1, event) for t, event in happened], CELLS, kept))


def begins(t: float, cell: str, attempt: int = 1, lane: str = "lane") -> list[tuple[float, Event]]:
    return [
        (t, Assigned(cell, "arm", 0, attempt, None, None)),
        (t + 1, Started(cell, attempt, lane, ("CPU",), None)),
    ]


def ends(t: float, cell: str) -> tuple[float, Event]:
    return t, TrialEnd(cell, "arm", 0, 1, TrialState.DONE, None, None, 3, 0.5, 1.0, 0.0, "lane")


STARTS = StudyStarted("hash", 2, "new")


def test_trials_follow_each_other_on_their_lane() -> None:
    kept = Checkpointed(A, 1, "step-1", 1, 1, 0.5)
    events = events_of((0, STARTS), *begins(1, A), (3, kept), ends(5, A), *begins(6, B), ends(9, B))
    lane = rows(events)[f"{LANES} / lane"]
    assert named(lane) == [
        "workers start for baseline seed 0",
        "baseline seed 0",
        "checkpoint step-1",
        "swap to high seed 0",
        "high seed 0",
    ]
    spans_of = {one["name"]: (one["ts"] / 1e6, one["dur"] / 1e6) for one in lane if one["ph"] == "X"}
    assert spans_of["baseline seed 0"] == (2, 3)
    assert spans_of["swap to high seed 0"] == (5, 2)
    assert counter(events, "lanes busy") == [1, 0, 1, 0]


def test_a_trial_that_is_assigned_before_the_one_before_it_has_ended_waits_for_its_lane() -> None:
    events = events_of((0, STARTS), *begins(1, A), *begins(3, B), ends(5, A), ends(9, B))
    lane = rows(events)[f"{LANES} / lane"]
    assert {one["name"]: one["ts"] / 1e6 for one in lane}["high seed 0"] == 5


def test_an_attempt_that_fails_and_one_that_was_never_taken_have_their_spans() -> None:
    failed = AttemptFailed(A, 1, Cause.INFRA, "a worker died", True, "node")
    never = [(t, Assigned(cell, "arm", 0, 2, None, None)) for t, cell in ((6, A), (7, B))]
    events = events_of((0, STARTS), *begins(1, A), (5, failed), *never, (8, Noted("late")), (9, STARTS))
    found = rows(events)
    (trial,) = [one for one in found[f"{LANES} / lane"] if one["name"] == CELLS[A]]
    assert trial["args"]["message"] == "a worker died"
    for number, name in enumerate(CELLS.values(), 1):
        (waits,) = found[f"{LANES} / on no lane {number}"]
        assert (waits["name"], waits["args"]["unfinished"]) == (name, "its driver was replaced")


def test_what_has_no_end_in_the_record_ends_where_the_record_does() -> None:
    (*_, trial) = rows(events_of((0, STARTS), *begins(1, A), (7, STARTS)))[f"{LANES} / lane"]
    assert trial["ts"] + trial["dur"] == 2_000_001  # the new driver knows no more than its last line


def test_clocks_that_disagree_give_no_span_a_negative_length() -> None:
    events = events_of((100, STARTS), *begins(101, A), ends(99, A), (50, STARTS), *begins(51, B), ends(52, B))
    assert {one["dur"] > 0 for row in rows(events).values() for one in row if one["ph"] == "X"} == {True}


def test_reports_are_counted_by_the_second_and_their_way_is_timed() -> None:
    taken = [
        Span("driver", "pump", "take messages", at, at + 5, {"reports": count, "queued_us": queued})
        for at, count, queued in ((1_000_000, 3, 2000), (1_500_000, 4, -70), (4_000_000, 1, 1000))
    ]
    events = events_of((0, STARTS), kept=[(1, span) for span in taken])
    assert counter(events, "reports a second") == [7, 0, 1, 0]
    assert counter(events, "from worker to driver") == [2, 0, 1]


# ---- spans -----------------------------------------------------------------------------------------------


def test_reports_that_come_fast_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(spans, "now_us", lambda: now[0])
    trace = TrialSpans("lane", 1, "abcdef")
    with trace.attempt("cell"):
        for index, at in enumerate((5_000, 30_000, 31_000, 60_000, 61_000), 1):
            now[0] = at
            trace.reported(index)
    told = [(span.name, span.start_us, span.end_us) for span in trace.taken()]
    assert told == [
        ("to reports 1-2", 0, 30_000),
        ("to reports 3-4", 30_000, 60_000),
        ("to report 5", 60_000, 61_000),
        ("cell", 0, 61_000),
    ]
    assert trace.taken() == ()


def test_what_does_not_fit_in_memory_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MOST_WAITING", 2)
    trace = SpanBuffer("driver")
    for _ in range(5):
        with trace.span("x"):
            pass
    assert [(span.name, span.args) for span in trace.taken()] == [
        ("x", None),
        ("x", None),
        ("spans left out", {"spans": 3}),
    ]


def test_a_context_has_spans_of_both_ways_and_hears_of_errors() -> None:
    trace, seen = SpanBuffer("driver"), []

    class Context:
        def __enter__(self) -> int:
            return 1

        def __exit__(self, *error: object) -> bool:
            seen.append(error[0])
            return True

    with entered(trace, Context(), "in", "out") as value:
        assert value == 1
        raise KeyError
    assert seen == [KeyError]
    assert [span.name for span in trace.taken()] == ["in", "out"]


def test_a_trace_that_is_full_goes_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MOST_BYTES", 500)
    trace, told = SpanFile(), list[str]()
    trace.keep_in(Storage.open(tmp_path), "trace/driver-1.jsonl", told.append)
    for _ in range(20):
        with trace.span("x"):
            pass
    trace.close()
    assert [text.partition(" (")[0] for text in told] == ["the trace is full"]
    assert (tmp_path / "trace/driver-1.jsonl").stat().st_size <= 500


class OneWrite(Appender):
    """A disk that is full at the second write."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        if self.writes > 1:
            raise OSError("no space left")

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Filling(Directory):
    def appender(self, path: str) -> Appender:
        return OneWrite()


def test_a_disk_that_fails_later_is_said_once(tmp_path: Path) -> None:
    trace, told = SpanFile(), list[str]()
    trace.keep_in(Storage.open(Filling(str(tmp_path))), "trace/driver-1.jsonl", told.append)
    with trace.span("x"):
        pass
    trace.close()
    with trace.span("y"):
        pass
    assert told == ["the trace cannot be written, and the study goes on without: no space left"]
    assert trace.taken() == ()


def test_lines_that_are_no_spans_are_passed_over(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    folder = Path(scene.storage.local_path(scene.paths.spans_dir))
    folder.mkdir(parents=True)
    good = Span("driver", "main", "x", 1, 2, {"n": 1})
    lines = [b"\xff", b"[]", b'{"a": 1}', b'["d", "r", "x", "1", 2, null]', good.line()[:-1], good.line()[:9]]
    (folder / "driver-7.jsonl").write_bytes(b"\n".join(lines))
    (folder / "other.jsonl").write_bytes(good.line())
    assert list(read_spans(scene.storage, scene.paths)) == [(7, good)]


# ---- studies ---------------------------------------------------------------------------------------------


def drawn(scene: Scene) -> list[dict[str, Any]]:
    """The trace file as it is read."""
    OpenedStudy(scene.storage, scene.paths).trace_file()
    data = Path(scene.storage.local_path(scene.paths.trace)).read_bytes()
    found: list[dict[str, Any]] = json.loads(gzip.decompress(data))["traceEvents"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_every_cell_and_what_its_workers_did(tmp_path: Path, workers: int) -> None:
    scene = Scene(
        tmp_path, resources={"workers": workers}, stopping={"max": 3, "unit": "epoch", "rule": "asha"}
    )
    assert scene.run(trace=SpanFile(), slots=2) is ExitCode.DONE
    events = drawn(scene)
    found = rows(events)
    lanes = [one["name"] for row, spans in found.items() if row.startswith(LANES) for one in spans]
    ours = {row: named(spans) for row, spans in found.items() if ": workers on " in row}
    for cell in scene.plan.cells:
        name = f"{cell.arm} seed {cell.seed}"
        assert lanes.count(name) == 1
        assert sum(row.count(name) for row in ours.values()) == workers
    told = {name for row in ours.values() for name in row}
    assert {"import the entrypoint", "open the trial's record", "close the trial's record"} <= told
    assert any(
        name.startswith("checkpoint step-")
        for row, row_of in ours.items()
        for name in row_of
        if "uploads" in row
    )
    assert {"wait for a decision"} <= told
    driver = {one["name"] for row, spans in found.items() if ": driver on " in row for one in spans}
    assert {"assign", "decide", "write the journal", "take messages"} <= driver
    assert sum(counter(events, "reports a second")) == sum(map(len, scene.curves().values()))
    assert min(counter(events, "from worker to driver")) >= 0
    assert max(counter(events, "lanes busy")) in (1, 2)
    assert scene.told == []


@pytest.mark.slow
def test_a_study_that_was_not_traced_has_its_lanes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert scene.run() is ExitCode.DONE
    assert not scene.storage.exists(scene.paths.spans_dir)
    assert {row.partition(" / ")[0] for row in rows(drawn(scene))} == {LANES, "study"}


@pytest.mark.slow
def test_a_killed_driver_leaves_a_trace_that_the_next_one_goes_on_with(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(DriverKilled):
        scene.run(PlantedFault("driver killed", at=2, arm="level=low", seed=1), slots=2, trace=SpanFile())
    (file,) = Path(scene.storage.local_path(scene.paths.spans_dir)).iterdir()
    os.truncate(file, file.stat().st_size - 3)  # in the middle of a line
    before = rows(drawn(scene))
    assert "it has no end in the record" in str(before)
    assert scene.run(slots=2, trace=SpanFile()) is ExitCode.DONE
    drivers = {row.partition(":")[0] for row in rows(drawn(scene)) if row.startswith("driver ")}
    assert drivers == {"driver 1", "driver 2"}


@pytest.mark.slow
def test_a_trace_that_cannot_be_written_is_said_once_and_the_study_completes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    in_the_way = Path(scene.storage.local_path(scene.paths.spans_dir))
    in_the_way.parent.mkdir()
    in_the_way.touch()
    assert scene.run(trace=SpanFile()) is ExitCode.DONE
    (said,) = scene.told
    assert said.startswith("the trace cannot be written, and the study goes on without: ")
    assert {row["state"] for row in scene.cells()} == {"done"}
