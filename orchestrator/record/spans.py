"""Spans: what a process did, from when to when. `ablate --trace` keeps those that the journal does not tell.

The driver appends them, its own and what workers send, to a file of its own below `trace/`, a line each. A
thread writes it, a moment late; what comes faster than it is written, or does not fit any more, is left out,
and a file that cannot be written ends the tracing and nothing else.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

from orchestrator.record.jsonlines import parsed, to_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import process_start
from orchestrator.record.storage import Storage
from orchestrator.record.storage.backend import Appender

MOST_WAITING = 10_000
"""Spans in memory, of a driver or of a worker."""
MOST_BYTES = 64 << 20
"""Of the spans that one driver keeps."""
EVERY_S, EVERY_OF_OBJECTS_S = 0.5, 30.0
"""How often they are written; object stores get an object each time."""
ENDS_WITHIN_S = 5.0
SHORTEST_US = 20_000
"""Of the spans from report to report: those that come faster are told together."""
_FILE = re.compile(r"driver-(\d{1,6})\.jsonl(?:\.\d+)?")
_NOTHING = nullcontext()
_OFFSET_NS = time.time_ns() - time.monotonic_ns()
Entered = TypeVar("Entered")


def now_us() -> int:
    """Microseconds since 1970, by a clock that is set once: within a process, spans nest."""
    return (time.monotonic_ns() + _OFFSET_NS) // 1000


@dataclass(frozen=True, slots=True)
class Span:
    """`process` and `row`: where it is drawn; an instant ends where it starts."""

    process: str
    row: str
    name: str
    start_us: int
    end_us: int
    args: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, line: bytes) -> Span | None:
        """Read one; None where the line is none."""
        try:
            process, row, name, start_us, end_us, args = parsed(line)
        except (TypeError, ValueError):
            return None
        texts, times = (process, row, name), (start_us, end_us)
        if not all(type(one) is str for one in texts) or not all(type(one) is int for one in times):
            return None
        return cls(process, row, name, start_us, end_us, args if isinstance(args, dict) else None)

    def line(self) -> bytes:
        """Return it as `of` reads it."""
        plain = (self.process, self.row, self.name, self.start_us, self.end_us, self.args)
        return to_json(plain) + b"\n"


class Untraced:
    """Takes spans and keeps none."""

    on: bool = False

    def span(self, name: str, row: str = "", **args: Any) -> AbstractContextManager[object]:
        """Keep what is inside as a span; `row`: one of its own, where it may overlap with others."""
        del name, row, args
        return _NOTHING

    def add(self, spans: Iterable[Span]) -> None:
        """Take spans of another process."""

    def attempt(self, name: str, **args: Any) -> AbstractContextManager[object]:
        """Keep what is inside as an attempt at a trial."""
        return self.span(name, **args)

    def reported(self, index: int) -> None:
        """Take in that the trial makes its report `index`: a span from one to the next, some ms at least."""

    def stepped(self) -> None:
        """Take in that the trial has made steps: the first ones are an instant."""

    def taken(self) -> tuple[Span, ...]:
        """Return what was kept since the last call."""
        return ()

    def keep_in(self, storage: Storage, path: str, tell: Callable[[str], None]) -> None:
        """Append all spans to a file from here on; `tell` people once where that fails."""

    def close(self) -> None:
        """Write what is left."""


UNTRACED = Untraced()


class SpanBuffer(Untraced):
    """Keeps a number of spans until they are taken."""

    def __init__(self, process: str) -> None:
        self.on, self._process = True, f"{process} on {socket.gethostname()}"
        self._lock, self._kept, self._lost = threading.Lock(), list[Span](), 0

    @contextmanager
    def _spanned(self, name: str, row: str, args: dict[str, Any]) -> Iterator[None]:
        start = now_us()
        try:
            yield
        finally:
            self._keep(name, start, now_us(), row, args)

    def span(self, name: str, row: str = "", **args: Any) -> AbstractContextManager[object]:
        """See `Untraced.span`. Without a `row` it is on that of this thread."""
        return self._spanned(name, self._row(row), args) if self.on else _NOTHING

    def add(self, spans: Iterable[Span]) -> None:
        """Keep spans, while there is room."""
        with self._lock:
            for one in spans:
                if not self.on or len(self._kept) >= MOST_WAITING:
                    self._lost += 1
                else:
                    self._kept.append(one)

    def taken(self) -> tuple[Span, ...]:
        """See `Untraced.taken`. The last one says how many were left out, if any."""
        with self._lock:
            kept, lost = self._kept, self._lost
            self._kept, self._lost = [], 0
        if lost:
            now = now_us()
            kept.append(Span(self._process, self._row(""), "spans left out", now, now, {"spans": lost}))
        return tuple(kept)

    def _keep(
        self, name: str, start_us: int, end_us: int, row: str, args: dict[str, Any] | None = None
    ) -> None:
        self.add((Span(self._process, row, name, start_us, end_us, args or None),))

    def _row(self, row: str) -> str:
        return row or threading.current_thread().name.removeprefix("orchestrator-")


class TrialSpans(SpanBuffer):
    """Those of one worker of a lane, for as long as it lives: who takes its place has rows of its own."""

    def __init__(self, lane: str, rank: int, incarnation: str) -> None:
        super().__init__("workers")
        of_rank = f" rank {rank}" if rank else ""
        self._lane, self._said, self._steps = f"{lane}{of_rank} ({incarnation[:4]})", _Reports(0), False

    @contextmanager
    def attempt(self, name: str, **args: Any) -> Iterator[None]:
        """See `Untraced.attempt`."""
        with self.span(name, **args):
            self._said, self._steps = _Reports(now_us()), False
            yield
            self._tell_reports()

    def reported(self, index: int) -> None:
        """See `Untraced.reported`."""
        said = self._said
        said.first, said.last, said.at_us = said.first or index, index, now_us()
        if said.at_us - said.since_us >= SHORTEST_US:
            self._tell_reports()

    def stepped(self) -> None:
        """See `Untraced.stepped`."""
        if not self._steps:
            self._steps, now = True, now_us()
            self._keep("first step", now, now, self._row(""))

    def _tell_reports(self) -> None:
        said = self._said
        if said.first:
            many = said.last > said.first
            name = f"to reports {said.first}-{said.last}" if many else f"to report {said.last}"
            self._keep(name, said.since_us, said.at_us, self._row(""))
            self._said = _Reports(said.at_us)

    def _row(self, row: str) -> str:
        return f"{self._lane} {row}".rstrip()


@dataclass(slots=True)
class _Reports:
    """Reports that are still to be told, and since when."""

    since_us: int
    first: int = 0
    last: int = 0
    at_us: int = 0


class SpanFile(SpanBuffer):
    """Those of a driver, with all that workers send it."""

    def __init__(self) -> None:
        super().__init__("driver")
        self._tell: Callable[[str], None] = lambda _: None
        self._file: Appender | None = None
        self._every_s, self._size = EVERY_S, 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="orchestrator-spans", daemon=True)

    def since_process_start(self, name: str) -> None:
        """Keep a span from the start of this process until now."""
        started = process_start(os.getpid())
        if started is not None:
            age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(started) / os.sysconf("SC_CLK_TCK")
            now = now_us()
            self._keep(name, now - max(0, int(age_s * 1e6)), now, self._row(""))

    def keep_in(self, storage: Storage, path: str, tell: Callable[[str], None]) -> None:
        """See `Untraced.keep_in`."""
        self._tell, self._every_s = tell, EVERY_S if storage.is_local else EVERY_OF_OBJECTS_S
        if self.on and self._append(lambda: storage.appender(path)):
            self._thread.start()

    def close(self) -> None:
        """See `Untraced.close`. Waits no longer than some seconds."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(ENDS_WITHIN_S)
        self.on = False

    def _write_on(self) -> None:
        while not self._closing.wait(self._every_s) and self._append():
            pass
        self._append(last=True)

    def _append(self, opening: Callable[[], Appender] | None = None, *, last: bool = False) -> bool:
        """Write what is there; False, and nothing is kept any more, where that is impossible."""
        try:
            if opening is not None:
                self._file = opening()
            if self._file is None or not self.on:
                return False
            data = b"".join(span.line() for span in self.taken())
            self._size += len(data)
            if self._size > MOST_BYTES:
                return self._end(f"the trace is full ({MOST_BYTES >> 20} MiB): it goes no further")
            self._file.write(data)
            if self._every_s > EVERY_S:
                self._file.sync()
            if last:
                self._file.close()
        except Exception as error:  # whatever it is, the study goes on
            return self._end(f"the trace cannot be written, and the study goes on without: {error}")
        return True

    def _end(self, why: str) -> bool:
        self.on = False
        self.taken()
        self._tell(why)
        return False


def read_spans(storage: Storage, paths: StudyPaths) -> Iterator[tuple[int, Span]]:
    """Yield what drivers have kept, with the number of the driver; other lines are passed over."""
    for entry in storage.list(paths.spans_dir):
        named = _FILE.fullmatch(entry.name)
        if named is None or entry.is_dir:
            continue
        data = storage.read_bytes(f"{paths.spans_dir}/{entry.name}", written_once=True)
        for line in BytesIO(data):
            span = Span.of(line)
            if span is not None:
                yield int(named[1]), span


@contextmanager
def entered(
    trace: Untraced, context: AbstractContextManager[Entered], entering: str, leaving: str
) -> Iterator[Entered]:
    """Enter a context, and have spans of the way in and the way out."""
    with ExitStack() as way_out:
        with trace.span(entering), ExitStack() as inside:
            value = inside.enter_context(context)
            way_out.push(_Traced(trace, leaving, inside.pop_all()))
        yield value


@dataclass(frozen=True)
class _Traced:
    trace: Untraced
    name: str
    way_out: ExitStack

    def __call__(self, *error: Any) -> bool | None:
        with self.trace.span(self.name):
            return self.way_out.__exit__(*error)
