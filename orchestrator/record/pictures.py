"""The pictures in a trial's event files: where they lie, without a TensorBoard.

Files are read on from where the last look ended; what a later attempt hides of an earlier one is left out.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

from orchestrator.record.storage import Storage
from orchestrator.record.tensorboard import frame_head

PNG = b"\x89PNG\r\n\x1a\n"
MOST_BYTES = 64 << 20
"""Of an event file that is searched."""
MOST_PICTURES = 100
"""Of a file; the last ones are known."""
_FILE = re.compile(r"events\.out\.tfevents\.\d+\..*")
_HEAD = struct.Struct("<Q4x")
_FOOT = 4


@dataclass(frozen=True)
class DrawnPicture:
    """A PNG file inside an event file: its first byte there, and its bytes."""

    file: str
    start: int
    length: int
    tag: str
    step: int


@dataclass
class _FileRead:
    """`done`: bytes that were searched; `hides_from`: from this step on it hides what earlier files have."""

    done: int = 0
    hides_from: int | None = None
    pictures: deque[DrawnPicture] = field(default_factory=lambda: deque(maxlen=MOST_PICTURES))


class EventPictures:
    """The pictures of one trial. `too_long`: files that were not searched, at the last look."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder
        self._read: dict[str, _FileRead] = {}
        self._lock = Lock()
        self.too_long: list[str] = []

    def newest_first(self) -> list[DrawnPicture]:
        """Return the pictures there are now. Raises `StudyError` where a file cannot be read."""
        with self._lock:
            return self._newest_first()

    def _newest_first(self) -> list[DrawnPicture]:
        self.too_long = []
        shown: list[DrawnPicture] = []
        for entry in self._storage.list(self._folder):  # names decide the order, as in TensorBoard
            if entry.is_dir or not _FILE.fullmatch(entry.name):
                continue
            if entry.size > MOST_BYTES:
                self.too_long.append(entry.name)
                continue
            read = self._read.get(entry.name)
            if read is None or entry.size < read.done:  # or it is another file now
                read = self._read[entry.name] = _FileRead()
            if entry.size > read.done:
                self._read_on(entry.name, read)
            if read.hides_from is not None:
                shown = [one for one in shown if one.step < (read.hides_from or 0)]
            shown += read.pictures
        return sorted(shown, key=lambda one: -one.step)

    def content(self, picture: DrawnPicture) -> bytes:
        """Return a picture's PNG file. Raises `FileNotFoundError`, also where another file lies there now."""
        path = f"{self._folder}/{picture.file}"
        png = self._storage.read_bytes(path, start=picture.start)[: picture.length]
        if len(png) < picture.length or not png.startswith(PNG):
            raise FileNotFoundError(path)
        return png

    def _read_on(self, name: str, read: _FileRead) -> None:
        start = read.done
        data = self._storage.read_bytes(f"{self._folder}/{name}", start=start)
        for number, (place, frame) in enumerate(_frames(data)):
            read.done = start + place + len(frame) + _FOOT
            if PNG in frame or (not start and number < 2):
                self._take(name, read, frame, start + place)

    def _take(self, name: str, read: _FileRead, frame: bytes, place: int) -> None:
        from google.protobuf.message import DecodeError
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        try:
            event = Event.FromString(frame)
        except DecodeError:
            return
        if event.HasField("session_log") and event.session_log.status == SessionLog.START:
            read.hides_from = event.step
        for value in event.summary.value:
            png = value.image.encoded_image_string
            if png.startswith(PNG):
                at = place + frame.find(png)
                read.pictures.append(DrawnPicture(name, at, len(png), value.tag, event.step))


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (place, content) of the whole records of an event file; what is torn or damaged ends it."""
    place = 0
    while place + _HEAD.size <= len(data):
        (length,) = _HEAD.unpack_from(data, place)
        begin = place + _HEAD.size
        if data[place:begin] != frame_head(length) or length + _FOOT > len(data) - begin:
            return
        yield begin, data[begin : begin + length]
        place = begin + length + _FOOT
