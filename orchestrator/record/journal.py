"""The journal: what happened, one JSON object a line, append-only, one writer, fsynced. It is the truth.

A line that was being written when the driver died has no newline: it is not read, and it is cut off and
reported when the journal is opened for writing again. NaN and the infinities are written as strings "nan",
"inf" and "-inf", since JSON has none, and are read back as numbers.

A driver that was replaced may still write a line before it notices. So lines carry the number of their
driver, and a new driver's first line says how many lines of each earlier one it has read; others are ignored.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import InternalError, StorageUnavailable, StudyHeld
from orchestrator.record.storage import Appender, Storage
from orchestrator.study.secrets import environment_secrets, masked

VERSION = 1
EVENTS = (
    "plan",
    "batch",
    "assign",
    "start",
    "report",
    "decision",
    "look",
    "checkpoint",
    "failure",
    "end",
    "note",
)
_WITH_MESSAGES = ("failure", "end", "note")  # what user code raised may hold a secret
_SEGMENTS = 1_000_000  # numbers of each driver's segments: no two drivers put the same one
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class JournalContents:
    """`events` in order; `torn`: bytes of unfinished last lines; `damaged`: numbers of unreadable lines;
    `late`: how many lines were ignored, because a driver that had been replaced wrote them.
    """

    events: tuple[dict[str, Any], ...]
    torn: int = 0
    damaged: tuple[int, ...] = ()
    late: int = 0

    def by_driver(self) -> dict[str, int]:
        """How many lines of each driver count: what the next driver's first line says as `taken`."""
        return dict(Counter(str(event.get("driver", 0)) for event in self.events))


class Journal:
    """The one writer. A line is in the file when `append` returns, and on the disk after `sync`.

    `fault`: why nothing can be written any more. From then on every call raises it: only the next `open` can
    know what a failed write has left, and a lost lease does not come back.
    """

    def __init__(
        self,
        appender: Appender,
        contents: JournalContents,
        clock: Callable[[], float],
        driver: int = 0,
        hold: Callable[[], None] | None = None,
    ) -> None:
        self._appender = appender
        self._clock = clock
        self._driver, self._hold = driver, hold
        self._unsynced = False
        self.contents = contents
        self.fault: StorageUnavailable | StudyHeld | None = None

    @property
    def torn_bytes(self) -> int:
        """How much of an unfinished line was cut off when the journal was opened."""
        return self.contents.torn

    @classmethod
    def open(
        cls,
        storage: Storage,
        path: str,
        clock: Callable[[], float] = time.time,
        *,
        driver: int = 0,
        hold: Callable[[], None] | None = None,
    ) -> Journal:
        """Open for writing: reads what is there (`contents`), cuts off a torn tail.

        `driver`: the number of the lease, 0 for none; `hold` raises `StudyHeld` once the lease is lost.
        """
        contents = read_journal(storage, path)
        if contents.torn:
            _cut_torn_tails(storage, path)
        appender = storage.appender(path, first=max(0, driver - 1) * _SEGMENTS + 1)
        return cls(appender, contents, clock, driver, hold)

    def append(self, event: str, **fields: Any) -> None:
        """Append one event with its fields."""
        self.append_many([{"event": event, **fields}])

    def append_many(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Append events, each a mapping with the key `event`.

        Raises `InternalError` for an unknown kind, `StorageUnavailable` when they cannot be written.
        """
        now = self._clock()
        mine = {"driver": self._driver} if self._driver else {}
        lines = [encode_event({**event, **mine}, now) for event in events]
        with self._noting_faults():
            self._unsynced = True
            self._appender.append(lines)

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


def read_journal(storage: Storage, path: str) -> JournalContents:
    """Every whole line of a journal that counts; one that does not exist is empty. Changes nothing."""
    events: list[dict[str, Any]] = []
    damaged: list[int] = []
    torn = seen = 0
    for part in storage.grown(path):
        *lines, tail = storage.read_bytes(part, written_once=True).split(b"\n")
        torn += len(tail)
        for number, line in enumerate(lines, start=seen + 1):
            event = decode_event(line)
            if event is None:
                damaged.append(number)
            else:
                events.append(event)
        seen += len(lines)
    count = without_late(events)
    return JournalContents(tuple(count), torn, tuple(damaged), len(events) - len(count))


def without_late(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without those that a driver wrote after a later one had read what there was.

    The newest driver's first line decides: it names all drivers before it.
    """
    starts = [event for event in events if event.get("event") == "plan" and "taken" in event]
    if not starts:
        return list(events)
    newest = max(starts, key=lambda event: int(event["driver"]))
    left = Counter({int(driver): int(lines) for driver, lines in newest["taken"].items()})
    count = []
    for event in events:
        driver = int(event.get("driver", 0))
        left[driver] -= 1
        if driver >= newest["driver"] or left[driver] >= 0:
            count.append(event)
    return count


def encode_event(event: Mapping[str, Any], now: float) -> bytes:
    """One line of the journal, without its newline."""
    if event.get("event") not in EVENTS:
        raise InternalError(f"unknown journal event {event.get('event')!r}; valid: {', '.join(EVENTS)}")
    line = {"v": VERSION, "t": now, **event}
    if event["event"] in _WITH_MESSAGES:
        known = environment_secrets()
        line = {key: masked(item, known) if isinstance(item, str) else item for key, item in line.items()}
    return to_json(line)


def decode_event(line: bytes) -> dict[str, Any] | None:
    """The event of one line, or None when the line is not an event."""
    try:
        event = from_json(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("event") not in EVENTS:
        return None
    return event


def to_json(value: Any) -> bytes:
    """Strict JSON on one line; non-finite floats become the strings "nan", "inf" and "-inf"."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except ValueError:
        finite = _without_nonfinite(value)
        text = json.dumps(finite, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return text.encode("utf-8", "backslashreplace")


def from_json(line: bytes | str) -> Any:
    """Reads what `to_json` wrote; raises `ValueError`."""
    return _with_nonfinite(json.loads(line))


def _plain(value: Any) -> Any:
    """numpy and torch scalars, paths and enums in a form that JSON has."""
    if hasattr(value, "item") and getattr(value, "size", 1) in (1, ()):
        value = value.item()
        return repr(value) if isinstance(value, complex) else _without_nonfinite(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (set, frozenset)) else str(value)


def _without_nonfinite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))
    if isinstance(value, Mapping):
        return {key: _without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nonfinite(item) for item in value]
    return value


def _with_nonfinite(value: Any) -> Any:
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: _with_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nonfinite(item) for item in value]
    return value


def _cut_torn_tails(storage: Storage, path: str) -> None:
    for part in storage.grown(path):
        data = storage.read_bytes(part, written_once=True)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            storage.write_atomic(part, data[:whole])
