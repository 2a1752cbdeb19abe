"""The journal: what happened, one JSON object a line, append-only, one writer, fsynced. It is the truth.

A line that was being written when the driver died has no newline: it is not read, and it is cut off and
reported when the journal is opened for writing again. NaN and the infinities are written as strings "nan",
"inf" and "-inf", since JSON has none, and are read back as numbers.

A driver that was replaced may still write a line before it notices. So lines carry the number of their
driver, and a new driver's first line says how many lines of each earlier one it has read; others are ignored.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from orchestrator.errors import Fault, StorageUnavailable, StudyError, StudyHeld
from orchestrator.record import events
from orchestrator.record.events import (
    AttemptFailed,
    BatchAdded,
    Event,
    Noted,
    StudyStarted,
    TrialEnd,
    Unreadable,
)
from orchestrator.record.jsonlines import parsed, to_json
from orchestrator.record.plainlines import UNREADABLE, LineHead, lines_with_care, reader_of
from orchestrator.record.reading import nothing_thrown_away, unreadable
from orchestrator.record.storage import Storage
from orchestrator.study.secrets import environment_secrets, masked

_WITH_MESSAGES = (AttemptFailed, TrialEnd, Noted)  # what user code raised may hold a secret
MOST_OF_A_LINE = 4 << 20
"""Bytes; a longer one is damaged."""
MOST_DAMAGED = 10_000
_TAIL = 1 << 12  # bytes of the last line that tell whether the file has only grown
_SEGMENTS = 1_000_000  # numbers of each driver's segments: no two drivers put the same one


class Line(NamedTuple):
    """One line of a journal: an event, when it was written (seconds since 1970) and by which driver.

    `driver` is 0 in journals of versions that had no numbers.
    """

    t: float
    driver: int
    event: Event | Unreadable

    def plain(self) -> dict[str, Any]:
        """Return the line as plain data."""
        fields = (
            asdict(self.event) if isinstance(self.event, Unreadable) else dict(events.written(self.event))
        )
        return {
            "v": events.VERSION,
            "t": self.t,
            **fields,
            **({"driver": self.driver} if self.driver else {}),
        }


@dataclass(frozen=True)
class Mark:
    """A place in a journal, for who knows already what the lines before it come to.

    `size`, `digest`: bytes of the whole lines there, and their SHA-256; `lines`: how many of them count,
    `damaged`: the numbers of the others; `last_driver`: the highest number of a driver that has written one.
    """

    size: int
    digest: str
    lines: int
    damaged: tuple[int, ...] = ()
    last_driver: int = 0


@dataclass(frozen=True)
class JournalContents:
    """What a journal says.

    `lines`: those that count, in order; `earlier`: how many before them count and were passed over, up to a
    mark; `torn`: bytes of unfinished last lines; `damaged`: numbers of
    unreadable lines; `late`: how many were ignored, because a driver that had been replaced wrote them;
    `parts`: the files that were read, with the bytes of the whole lines of each; `tail`: the end of the last
    of them; `last_driver`: the highest number of a driver that has written a line that counts; `digest`:
    SHA-256 of all whole lines, to go on from.
    """

    lines: tuple[Line, ...] = ()
    earlier: int = 0
    torn: int = 0
    damaged: tuple[int, ...] = ()
    late: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)
    tail: bytes = b""
    last_driver: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256, compare=False, repr=False)

    @property
    def seen(self) -> int:
        """How many whole lines there are."""
        return self.earlier + len(self.lines) + self.late + len(self.damaged)

    @property
    def events(self) -> Iterator[Event | Unreadable]:
        """The events of all lines that count."""
        return (line.event for line in self.lines)

    def by_driver(self) -> dict[str, int]:
        """How many lines of each driver count: what the next driver's first line says as `taken`."""
        return dict(Counter(str(line.driver) for line in self.lines))


class Journal:
    """The one writer. A line is in the file when `append` returns, and on the disk after `sync`.

    `contents`: what was there when it was opened; `lines`: how many count now; `began`: when its first line
    was written; `fault`: why nothing can be written any more. From then on every call raises it: only the
    next journal can know what a failed write has left, and a lost lease does not come back.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        clock: Callable[[], float] = time.time,
        *,
        driver: int = 0,
        hold: Callable[[], None] | None = None,
        read: JournalContents | None = None,
    ) -> None:
        """Open for writing: takes in what is there (`contents`), cuts off a torn tail.

        Args:
            driver: the number of the lease, 0 for none.
            hold: raises `StudyHeld` once the lease is lost.
            read: what was read before; the journal is read again only if more was written since.
        """
        self.contents = read_journal(storage, path, read)
        if self.contents.torn:
            _cut_torn_tails(storage, path)
        self._appender = storage.appender(path, first=max(0, driver - 1) * _SEGMENTS + 1)
        self._clock, self._driver, self._hold = clock, driver, hold
        self._unsynced = False
        self.lines, self._digest = len(self.contents.lines), self.contents.digest.copy()
        self._size = sum(self.contents.parts.values())
        self.began = self.contents.lines[0].t if self.contents.lines else None
        self.fault: StorageUnavailable | StudyHeld | None = None

    def append(self, *happened: Event) -> None:
        """Append events. Raises `StorageUnavailable` when they cannot be written."""
        now = self._clock()
        data = b"".join(encode(Line(now, self._driver, event)) + b"\n" for event in happened)
        with self._noting_faults():
            self._unsynced = True
            self._appender.write(data)
        self._digest.update(data)
        self.lines, self._size = self.lines + len(happened), self._size + len(data)
        self.began = now if self.began is None else self.began

    @property
    def behind(self) -> bool:
        """Whether something was appended since the last `sync`."""
        return self._unsynced

    @property
    def mark(self) -> Mark | None:
        """The end, as far as this writer knows; None where lines do not count, which a mark cannot tell."""
        if self.contents.late:
            return None
        damaged, last = self.contents.damaged, max(self._driver, self.contents.last_driver)
        return Mark(self._size, self._digest.hexdigest(), self.lines, damaged, last)

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


@nothing_thrown_away()
def read_journal(
    storage: Storage, path: str, before: JournalContents | None = None, mark: Mark | None = None
) -> JournalContents:
    """Read every whole line of a journal that counts; one that does not exist is empty. Changes nothing.

    `before`: what was read earlier; only what has been written since is read then, and it is returned itself
    when that is nothing. `mark`: what is before it is passed over, if it is a mark of this journal. Raises
    `StudyError` when a line is of another version, `UnreadableRecord` when nearly nothing can be read.
    """
    paths, later = storage.grown(path), None
    if before is not None and list(paths[: len(before.parts)]) == list(before.parts):
        later = _read_on(storage, path, paths, before)
    elif before is None and mark is not None:
        later = _read_after(storage, paths, mark)
    if later is not None:
        return later
    reading = _LinesRead(storage, JournalContents())
    for part in paths:
        reading.read(part)
    count = without_late(reading.lines)
    return reading.contents(count, len(reading.lines) - len(count))


def _read_on(
    storage: Storage, path: str, paths: Sequence[str], before: JournalContents
) -> JournalContents | None:
    """Read what is new: segments are written once, the file itself only grows.

    None where that alone does not tell: the file is another one, or the new lines decide about earlier ones.
    """
    reading = _LinesRead(storage, before)
    whole, grown = before.parts.get(path), False
    if whole is not None:
        now = storage.look_up(path)
        grown = now is None or now.size != whole + before.torn
        if grown and (len(before.parts) > 1 or not reading.go_on(path, whole)):
            return None
    if not grown and len(paths) == len(before.parts):
        return before
    for part in paths[len(before.parts) :]:
        reading.read(part)
    if reading.decides:
        return None
    found = reading.contents([*before.lines, *reading.lines], before.late)
    return before if (found.parts, found.torn) == (before.parts, before.torn) else found


def _read_after(storage: Storage, paths: Sequence[str], mark: Mark) -> JournalContents | None:
    """Read what comes after a mark; None where it is of another journal, or later lines decide about it."""
    known = JournalContents(earlier=mark.lines, damaged=mark.damaged, last_driver=mark.last_driver)
    reading, left = _LinesRead(storage, known), mark.size
    for part in paths:
        left -= reading.read(part, left, mark.digest)
    return None if left or reading.decides else reading.contents(reading.lines, 0)


class _LinesRead:
    """Lines as they are read, after those of `before`."""

    def __init__(self, storage: Storage, before: JournalContents) -> None:
        self._storage, self.lines, self._before = storage, list[Line](), before
        self._damaged, self._parts = list(before.damaged), dict(before.parts)
        self._seen, self._strange = before.seen, len(before.damaged)
        self._torn, self._tail, self._digest = before.torn, before.tail, before.digest.copy()

    def read(self, part: str, known: int = 0, digest: str = "") -> int:
        """Read a file, and pass over its first `known` bytes, if with them it comes to this digest.

        Returns how many were passed over.
        """
        data = self._storage.read_bytes(part, written_once=True)
        passed = min(known, data.rfind(b"\n") + 1)
        self._note(data, 0, passed)
        if passed == known and passed and self._digest.hexdigest() != digest:
            return 0
        self._take(part, data, passed, passed, 0 if passed else self._seen)
        return passed

    def go_on(self, part: str, whole: int) -> bool:
        """Read what has come to the only file after its whole lines; False where it is another file now."""
        tail = self._tail
        data = self._storage.read_bytes(part, written_once=True, start=whole - len(tail))
        if not data.startswith(tail):
            return False
        self._torn = 0
        self._take(part, data, len(tail), whole, 0)
        return True

    @property
    def decides(self) -> bool:
        """Whether what was read tells which of the lines before count: a driver has begun or was replaced."""
        starts = any(type(line.event) is StudyStarted for line in self.lines)
        return starts or any(line.driver < self._before.last_driver for line in self.lines)

    def _take(self, part: str, data: bytes, first: int, whole: int, before_it: int) -> None:
        """Take in lines from byte `first` of `data`; `whole`, `before_it`: bytes and lines before it."""
        where = f"{self._storage.uri}/{part}"
        torn = 0
        for text, care in lines_with_care(data[first:]):
            if not text.endswith(b"\n"):
                torn = len(text)
                break
            self._seen += 1
            line = read_line(text, care, where, self._seen - before_it)
            if line is None:
                self._damaged.append(self._seen)
            else:
                self.lines.append(line)
            if line is None or type(line.event) is Unreadable:
                self._strange += 1
                if self._strange > MOST_DAMAGED:
                    words = f"more than {MOST_DAMAGED:,} lines are no events"
                    raise unreadable(self._storage, part, "", words)
        place = len(data) - torn
        self._note(data, first, place)
        self._parts[part] = whole + place - first
        self._torn += torn

    def _note(self, data: bytes, first: int, place: int) -> None:
        """Note that these bytes, whole lines, have been seen."""
        self._digest.update(memoryview(data)[first:place])
        if place > first:
            start = data.rfind(b"\n", 0, place - 1) + 1
            self._tail = data[max(start, place - _TAIL) : place]

    def contents(self, count: Sequence[Line], late: int) -> JournalContents:
        """Return what there is now. `count`: the lines that do, without `late` ones."""
        last = max((line.driver for line in self.lines), default=0)
        return JournalContents(
            tuple(count),
            self._before.earlier,
            self._torn,
            tuple(self._damaged),
            late,
            self._parts,
            self._tail,
            max(last, self._before.last_driver),
            self._digest,
        )


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


_head = reader_of(LineHead)
_PLAIN = {
    kind: reader_of(event) for kind, event in events.KINDS.items() if event not in (StudyStarted, BatchAdded)
}
"""Readers of the kinds that there are many of: without those whose fields are checked further."""
_NOT_SO_PLAIN = (KeyError, *UNREADABLE)


def read_line(text: bytes, care: bool, where: str = "the journal", number: int | None = None) -> Line | None:
    """Read one line as `decode` does; at once where nothing in it needs care."""
    if not care:
        try:
            head = _head(text)
            event = _PLAIN[head.event](text)
        except _NOT_SO_PLAIN:
            return decode(text, where, number)
        if head.v == events.VERSION and 0 <= head.driver < _SEGMENTS:
            return Line(head.t, head.driver, event)
    return decode(text, where, number)


def decode(text: bytes, where: str = "the journal", number: int | None = None) -> Line | None:
    """Read one line; None when it is no event. `where` and `number`: file and line, for messages.

    Raises `StudyError` for a line of another version.
    """
    try:
        line = parsed(text) if len(text) <= MOST_OF_A_LINE else None
    except ValueError:
        return None
    if type(line) is not dict or type(line.get("event")) is not str:
        return None
    version, t, driver = line.get("v", events.VERSION), line.get("t", 0.0), line.get("driver", 0)
    if type(version) is not int or type(t) not in (float, int) or type(driver) is not int:
        return None
    if version != events.VERSION:
        message = f"the journal's lines have version {version}, and this version of the program reads "
        hint = "use the version that has written it (env.json names it), or a later one than this"
        raise StudyError(Fault(f"{message}{events.VERSION}", file=where, line=number, hint=hint))
    if line["event"] not in events.KINDS or not 0 <= driver < _SEGMENTS:
        return None
    return Line(float(t), driver, events.read(line))


def _cut_torn_tails(storage: Storage, path: str) -> None:
    for part in storage.grown(path):
        data = storage.read_bytes(part, written_once=True)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            storage.write_atomic(part, data[:whole])
