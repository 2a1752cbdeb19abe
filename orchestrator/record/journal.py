"""The journal: what happened, one JSON object a line, append-only, one writer, fsynced. It is the truth.

A line that was being written when the driver died has no newline: it is not read, and it is cut off and
reported when the journal is opened for writing again. NaN and the infinities are written as strings "nan",
"inf" and "-inf", since JSON has none, and are read back as numbers.

A driver that was replaced may still write a line before it notices. So lines carry the number of their
driver, and a new driver's first line says how many lines of each earlier one it has read; others are ignored.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, StrictInt, TypeAdapter

from orchestrator.errors import Fault, StorageUnavailable, StudyError, StudyHeld
from orchestrator.record import events
from orchestrator.record.events import AttemptFailed, Event, Noted, StudyStarted, TrialEnd, Unreadable
from orchestrator.record.jsonlines import parsed, to_json
from orchestrator.record.reading import unreadable
from orchestrator.record.storage import Appender, Storage
from orchestrator.study.secrets import environment_secrets, masked

_WITH_MESSAGES = (AttemptFailed, TrialEnd, Noted)  # what user code raised may hold a secret
MOST_OF_A_LINE = 4 << 20
"""Bytes; a longer one is damaged."""
MOST_DAMAGED = 10_000
_SEGMENTS = 1_000_000  # numbers of each driver's segments: no two drivers put the same one


@dataclass(frozen=True)
class _Frame:
    """What every line has, beside the fields of its event."""

    event: str
    v: StrictInt = events.VERSION
    t: float = 0.0
    driver: Annotated[StrictInt, Field(ge=0, lt=_SEGMENTS)] = 0


_FRAME = TypeAdapter(_Frame)


@dataclass(frozen=True)
class Line:
    """One line of a journal: an event, when it was written (seconds since 1970) and by which driver.

    `driver` is 0 in journals of versions that had no numbers.
    """

    t: float
    driver: int
    event: Event | Unreadable

    def plain(self) -> dict[str, Any]:
        """Return the line as plain data."""
        fields = vars(self.event) if isinstance(self.event, Unreadable) else dict(events.written(self.event))
        return {
            "v": events.VERSION,
            "t": self.t,
            **fields,
            **({"driver": self.driver} if self.driver else {}),
        }


@dataclass(frozen=True)
class JournalContents:
    """What a journal says.

    `lines`: those that count, in order; `torn`: bytes of unfinished last lines; `damaged`: numbers of
    unreadable lines; `late`: how many were ignored, because a driver that had been replaced wrote them;
    `parts`: the files that were read, with the bytes of each.
    """

    lines: tuple[Line, ...] = ()
    torn: int = 0
    damaged: tuple[int, ...] = ()
    late: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def events(self) -> Iterator[Event | Unreadable]:
        """The events of all lines that count."""
        return (line.event for line in self.lines)

    def by_driver(self) -> dict[str, int]:
        """How many lines of each driver count: what the next driver's first line says as `taken`."""
        return dict(Counter(str(line.driver) for line in self.lines))

    @property
    def last_driver(self) -> int:
        """The highest number of a driver that has written a line that counts."""
        return max((line.driver for line in self.lines), default=0)


class Journal:
    """The one writer. A line is in the file when `append` returns, and on the disk after `sync`.

    `contents`: what was there when it was opened; `began`: when its first line was written; `fault`: why
    nothing can be written any more. From then on every call raises it: only the next `open` can know what a
    failed write has left, and a lost lease does not come back.
    """

    def __init__(
        self,
        appender: Appender,
        contents: JournalContents,
        clock: Callable[[], float],
        driver: int = 0,
        hold: Callable[[], None] | None = None,
    ) -> None:
        self._appender, self._clock = appender, clock
        self._driver, self._hold = driver, hold
        self._unsynced = False
        self.contents = contents
        self.began = contents.lines[0].t if contents.lines else None
        self.fault: StorageUnavailable | StudyHeld | None = None

    @classmethod
    def open(
        cls,
        storage: Storage,
        path: str,
        clock: Callable[[], float] = time.time,
        *,
        driver: int = 0,
        hold: Callable[[], None] | None = None,
        read: JournalContents | None = None,
    ) -> Journal:
        """Open for writing: takes in what is there (`contents`), cuts off a torn tail.

        Args:
            driver: the number of the lease, 0 for none.
            hold: raises `StudyHeld` once the lease is lost.
            read: what was read before; the journal is read again only if more was written since.
        """
        contents = read_journal(storage, path, read)
        if contents.torn:
            _cut_torn_tails(storage, path)
        appender = storage.appender(path, first=max(0, driver - 1) * _SEGMENTS + 1)
        return cls(appender, contents, clock, driver, hold)

    def append(self, *happened: Event) -> None:
        """Append events. Raises `StorageUnavailable` when they cannot be written."""
        now = self._clock()
        lines = [encode(Line(now, self._driver, event)) for event in happened]
        with self._noting_faults():
            self._unsynced = True
            self._appender.append(lines)
        self.began = now if self.began is None else self.began

    def sync(self) -> None:
        """Make all that was appended durable, then look at the lease.

        In this order, so that what may take effect after `sync` is read by whoever takes the lease later.

        Raises:
            StorageUnavailable: not all of it is on the disk.
            StudyHeld: another driver has the study; what was appended may not count.
        """
        with self._noting_faults():
            self._appender.sync()
            if self._unsynced and self._hold is not None:
                self._hold()
            self._unsynced = False

    def close(self) -> None:
        """Sync and close; nothing after a fault, which somebody has been told of."""
        if self.fault is None:
            self.sync()
            self._appender.close()

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        if self.fault is not None:
            raise self.fault
        try:
            yield
        except (StorageUnavailable, StudyHeld) as error:
            self.fault = error
            raise


def read_journal(storage: Storage, path: str, before: JournalContents | None = None) -> JournalContents:
    """Read every whole line of a journal that counts; one that does not exist is empty. Changes nothing.

    `before`: what was read earlier; it is returned when nothing has been written since. Raises `StudyError`
    when a line is of another version, `UnreadableRecord` when nearly nothing can be read.
    """
    paths = storage.grown(path)
    if before is not None and _unchanged(storage, path, paths, before):
        return before
    lines: list[Line] = []
    damaged: list[int] = []
    parts: dict[str, int] = {}
    torn = seen = strange = 0
    for part in paths:
        data = storage.read_bytes(part, written_once=True)
        parts[part] = len(data)
        start, before_it = 0, seen
        while (end := data.find(b"\n", start)) >= 0:
            seen += 1
            line = decode(data[start:end], where=f"{storage.uri}/{part}", number=seen - before_it)
            if line is None:
                damaged.append(seen)
            else:
                lines.append(line)
            strange += line is None or isinstance(line.event, Unreadable)
            if strange > MOST_DAMAGED:
                raise unreadable(storage, part, "", f"more than {MOST_DAMAGED:,} lines are no events")
            start = end + 1
        torn += len(data) - start
    count = without_late(lines)
    return JournalContents(tuple(count), torn, tuple(damaged), len(lines) - len(count), parts)


def _unchanged(storage: Storage, path: str, paths: Sequence[str], before: JournalContents) -> bool:
    """Segments are written once; the file itself only grows."""
    if list(paths) != list(before.parts):
        return False
    whole = storage.look_up(path) if path in before.parts else None
    return whole is None or whole.size == before.parts[path]


def without_late(lines: Sequence[Line]) -> list[Line]:
    """Return the lines without those that a driver wrote after a later one had read what there was.

    The newest driver's first line decides: it names all drivers before it.
    """
    starts = [
        (line.driver, line.event.taken)
        for line in lines
        if isinstance(line.event, StudyStarted) and line.event.taken is not None
    ]
    if not starts:
        return list(lines)
    newest, taken = max(starts, key=lambda start: start[0])
    left = Counter({int(driver): count for driver, count in taken.items()})
    kept = []
    for line in lines:
        left[line.driver] -= 1
        if line.driver >= newest or left[line.driver] >= 0:
            kept.append(line)
    return kept


def encode(line: Line) -> bytes:
    """One line of the journal, without its newline."""
    plain = line.plain()
    if isinstance(line.event, _WITH_MESSAGES):
        known = environment_secrets()
        plain = {key: masked(item, known) if isinstance(item, str) else item for key, item in plain.items()}
    return to_json(plain)


def decode(text: bytes, where: str = "the journal", number: int | None = None) -> Line | None:
    """Read one line; None when it is no event. `where` and `number`: file and line, for messages.

    Raises `StudyError` for a line of another version.
    """
    try:
        line: Any = parsed(text) if len(text) <= MOST_OF_A_LINE else None
        frame = _FRAME.validate_python(line)
    except ValueError:
        return None
    if frame.v != events.VERSION:
        message = f"the journal's lines have version {frame.v}, and this version of the program reads "
        hint = "use the version that has written it (env.json names it), or a later one than this"
        raise StudyError(Fault(f"{message}{events.VERSION}", file=where, line=number, hint=hint))
    if frame.event not in events.KINDS:
        return None
    return Line(frame.t, frame.driver, events.read(line))


def _cut_torn_tails(storage: Storage, path: str) -> None:
    for part in storage.grown(path):
        data = storage.read_bytes(part, written_once=True)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            storage.write_atomic(part, data[:whole])
