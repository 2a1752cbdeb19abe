"""A study as a trace: when what happened, as Chrome's trace events, which Perfetto opens.

What the journal tells is drawn for every study: trials on their lanes, as the driver heard of them. Beside
it stand the spans that `ablate --trace` has kept (`record.spans`), each by the clock of its own process: no
clock is set right by another one, so hosts are assumed to agree as well as NTP lets them.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from orchestrator.record.events import (
    Assigned,
    AttemptFailed,
    BatchAdded,
    Checkpointed,
    Decided,
    Event,
    LookTaken,
    Noted,
    Started,
    StudyStarted,
    TrialEnd,
    Unreadable,
)
from orchestrator.record.journal import Line, read_journal
from orchestrator.record.jsonlines import to_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.spans import Span, read_spans
from orchestrator.record.state import StudyState
from orchestrator.record.storage import Storage
from orchestrator.study.visible import shortened, visible

STUDY, LANES = "study", "lanes (as the driver heard of them)"
CLOCKS = (
    "every process draws its own clock, that of its host; hosts are assumed to agree. What is drawn of the "
    "journal has the driver's."
)
_WITHOUT_LANE = "on no lane"
_TAKEN = "take messages"
_LONGEST = 300  # characters of a name or a text


def drawn(storage: Storage, paths: StudyPaths, state: StudyState) -> bytes:
    """Return the trace of a study as far as it got: JSON, compressed."""
    lines = read_journal(storage, paths.journal).lines
    names = {cell: record.name for cell, record in state.cells.items()}
    about = {"study": paths.root, "clocks": CLOCKS}
    head = b'{"displayTimeUnit":"ms","otherData":' + to_json(about) + b',"traceEvents":[\n'
    buffer = BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(head)
        for number, event in enumerate(trace_events(lines, names, read_spans(storage, paths))):
            file.write((b",\n" if number else b"") + to_json(event))
        file.write(b"\n]}\n")
    return buffer.getvalue()


def trace_events(
    lines: Iterable[Line], names: Mapping[str, str], spans: Iterable[tuple[int, Span]] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the trace events of a journal, and of spans with the number of the driver that kept them.

    `names`: of the cells.
    """
    rows, told = _Rows(), _Told(names)
    for line in lines:
        told.take(round(line.t * 1e6) if math.isfinite(line.t) else 0, line.event)
    told.leave("it has no end in the record")
    for span in told.spans:
        yield from rows.event(span.process, span)
    yield from told.busy(rows.process(LANES))
    seconds: dict[int, Counter[int]] = {}
    for driver, span in spans:
        process = f"driver {driver}: {span.process}"
        yield from rows.event(process, span)
        args = span.args or {}
        if span.name == _TAKEN:
            yield from _queued(rows.process(process), span.end_us, args.get("queued_us"))
            count = args.get("reports", 0)
            if type(count) is int:
                seconds.setdefault(rows.process(process), Counter())[span.start_us // 1_000_000] += count
    for pid, reports in seconds.items():
        yield from _rates(pid, reports)
    yield from rows.names()


def _queued(pid: int, at_us: int, queued_us: object) -> Iterator[dict[str, Any]]:
    """Yield how long the oldest report of a batch took from worker to driver; clocks may disagree."""
    if type(queued_us) is int:
        value = {"ms": max(0, queued_us) / 1000}
        yield {"ph": "C", "name": "from worker to driver", "pid": pid, "tid": 0, "ts": at_us, "args": value}


def _rates(pid: int, reports: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """Yield the counter of reports a second, which falls to 0 where none came."""
    for second in sorted({one for there in reports for one in (there, there + 1)}):
        value = {"reports": reports.get(second, 0)}
        at = second * 1_000_000
        yield {"ph": "C", "name": "reports a second", "pid": pid, "tid": 0, "ts": at, "args": value}


class _Rows:
    """Numbers for processes and threads, in the order in which they come."""

    def __init__(self) -> None:
        self._processes: dict[str, int] = {}
        self._rows: dict[tuple[int, str], int] = {}

    def process(self, name: str) -> int:
        """Return the number of a process."""
        return self._processes.setdefault(name, len(self._processes) + 1)

    def event(self, process: str, span: Span) -> Iterator[dict[str, Any]]:
        """Yield a span, or an instant."""
        pid = self.process(process)
        tid = self._rows.setdefault((pid, span.row), len(self._rows) + 1)
        where = {"name": _text(span.name), "pid": pid, "tid": tid, "ts": span.start_us}
        args = {} if not span.args else {"args": {_text(key): _arg(span.args[key]) for key in span.args}}
        if span.end_us > span.start_us:
            yield {"ph": "X", **where, "dur": span.end_us - span.start_us, **args}
        else:
            yield {"ph": "i", "s": "t", **where, **args}

    def names(self) -> Iterator[dict[str, Any]]:
        """Yield what the numbers stand for."""
        for name, pid in self._processes.items():
            yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": _text(name)}}
            yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}
        for (pid, row), tid in self._rows.items():
            yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": _text(row)}}


@dataclass(slots=True)
class _Attempt:
    """One that is under way."""

    number: int
    assigned_us: int
    lane: str | None = None
    started_us: int | None = None
    instants: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)


class _Told:
    """What the journal tells, as spans. On a lane nothing overlaps, whatever the clocks of drivers say."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.spans: list[Span] = []
        self._names = names
        self._open: dict[str, _Attempt] = {}
        self._free: dict[str, int] = {}  # row -> when its last trial ended
        self._swaps = set[str]()  # lanes of this driver that have had a trial
        self._busy: list[tuple[int, int]] = []
        self._last = 0

    def take(self, at_us: int, event: Event | Unreadable) -> None:
        """Take one event, in the journal's order."""
        match event:
            case StudyStarted(reason=reason):
                self.leave("its driver was replaced")
                self._swaps.clear()
                self._note(at_us, f"a driver starts: {reason}")
            case Assigned(cell=cell, attempt=attempt):
                self._close(cell, at_us, {})
                self._open[cell] = _Attempt(attempt, at_us)
            case Started(cell=cell, lane=lane) if cell in self._open:
                self._open[cell].lane, self._open[cell].started_us = lane, at_us
            case Checkpointed(cell=cell, name=name) if cell in self._open:
                self._open[cell].instants.append((at_us, f"checkpoint {name}", {"value": event.value}))
            case Decided(cell=cell) if cell in self._open:
                what = f"rung {event.rung}: {event.action}"
                self._open[cell].instants.append((at_us, what, {"reason": event.reason}))
            case AttemptFailed(cell=cell):
                args = {"cause": str(event.cause), "message": event.message, "again": event.again}
                self._close(cell, at_us, args)
            case TrialEnd(cell=cell):
                args = {"state": str(event.state), "value": event.value, "reason": event.reason}
                self._close(cell, at_us, args)
            case Noted(text=text):
                self._note(at_us, text)
            case BatchAdded(reason=reason):
                self._note(at_us, f"more is to be run: {reason}")
            case LookTaken(arm=arm, action=action):
                self._note(at_us, f"look at {arm}: {action}")
        self._last = at_us

    def leave(self, why: str) -> None:
        """Let all attempts that are under way end where the record does."""
        for cell in list(self._open):
            self._close(cell, self._last, {"unfinished": why})

    def busy(self, pid: int) -> Iterator[dict[str, Any]]:
        """Yield the counter of lanes that have a trial."""
        changes: Counter[int] = Counter()
        for start, end in self._busy:
            changes[start] += 1
            changes[end] -= 1
        count = 0
        for at in sorted(changes):
            count += changes[at]
            yield {"ph": "C", "name": "lanes busy", "pid": pid, "tid": 0, "ts": at, "args": {"lanes": count}}

    def _note(self, at_us: int, text: str) -> None:
        self.spans.append(Span(STUDY, "what happened", text, at_us, at_us))

    def _close(self, cell: str, end_us: int, args: dict[str, Any]) -> None:
        trial = self._open.pop(cell, None)
        if trial is None:
            return
        name, row = self._names.get(cell, cell), trial.lane
        if row is None:  # its workers never took it: others may have waited at the same time
            row = next(row for row in _numbered(_WITHOUT_LANE) if self._free.get(row, 0) <= trial.assigned_us)
        free = self._free.get(row, 0)
        start = max(free, trial.started_us or trial.assigned_us)
        end = max(start + 1, end_us)
        self._free[row] = end
        if trial.started_us is not None:
            self._busy.append((start, end))
            swaps = row in self._swaps
            self._swaps.add(row)
            before = free if swaps else min(start, max(free, trial.assigned_us))
            way = "swap to" if swaps else "workers start for"
            self._put(row, f"{way} {name}", before, start, {"assigned_us": trial.assigned_us})
        self._put(row, name, start, end, {"cell": cell, "attempt": trial.number, **args})
        for at, what, about in trial.instants:
            here = min(max(at, start), end)
            self._put(row, what, here, here, about)

    def _put(self, row: str, name: str, start_us: int, end_us: int, args: dict[str, Any]) -> None:
        self.spans.append(Span(LANES, row, name, start_us, end_us, args))


def _numbered(name: str) -> Iterator[str]:
    number = 1
    while True:
        yield f"{name} {number}"
        number += 1


def _text(text: str) -> str:
    return visible(shortened(text, _LONGEST))


def _arg(value: Any) -> Any:
    return _text(value) if isinstance(value, str) else value
