"""TensorBoard event files: the scalars in them, in the order in which they were written.

TensorBoard's own reader takes 0.8 s of CPU to import and computes in Python a checksum of everything,
pictures included, so only its messages are taken from it. A file is framed records: length, checksum,
message, checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.engine.command._growing import MOST_READ, GrowingFile

MOST_MESSAGE = 1 << 20
"""Bytes of a message of scalars; a longer one is pictures, a graph or a histogram, and is skipped."""
MOST_RECORD = 1 << 31
_HEAD, _FOOT = 12, 4
_FLOAT, _DOUBLE = 1, 2


@dataclass(frozen=True)
class Scalar:
    """One point of one curve."""

    tag: str
    step: int
    value: float


class EventFileReader:
    """The scalars of one event file as it grows. `damaged`: it is none, or is broken; no more is read."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._file, self._rest, self._skip = GrowingFile(path, start), b"", 0
        self._begun = 0
        self.path, self.damaged = path, False

    def more(self) -> Iterator[Scalar]:
        """Yield the points of the records that are whole now."""
        while not self.damaged and (data := self._file.more()):
            if self._file.begun != self._begun:
                self._begun, self._rest, self._skip = self._file.begun, b"", 0
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            self._rest += data[skipped:]
            yield from self._points()
            if len(data) < MOST_READ:
                return

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _points(self) -> Iterator[Scalar]:
        at, data = 0, self._rest
        try:
            while len(data) - at >= _HEAD:
                (length,) = struct.unpack_from("<Q", data, at)
                if length > MOST_RECORD:
                    self.damaged = True
                    return
                end = at + _HEAD + length + _FOOT
                if end > len(data):
                    if length > MOST_MESSAGE:  # not waited for, and not held
                        self._skip, at = end - len(data), len(data)
                    return
                if length <= MOST_MESSAGE:
                    yield from self._scalars(data[at + _HEAD : end - _FOOT])
                at = end
        finally:
            self._rest = data[at:]

    def _scalars(self, message: bytes) -> Iterator[Scalar]:
        kind, broken = _event()
        try:
            event = kind.FromString(message)
        except broken:
            self.damaged = True
            return
        if event.WhichOneof("what") != "summary":
            return
        for point in event.summary.value:
            value = _number(point)
            if value is not None:
                yield Scalar(point.tag, event.step, value)


@cache
def _event() -> tuple[Any, type[Exception]]:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event  # 0.07 s; tensorboardX would import torch

    return Event, DecodeError


def _number(point: Any) -> float | None:
    which = point.WhichOneof("value")
    if which == "simple_value":
        return float(point.simple_value)
    if which != "tensor" or point.metadata.plugin_data.plugin_name not in ("", "scalars"):
        return None
    tensor = point.tensor
    if tensor.dtype not in (_FLOAT, _DOUBLE) or any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    values = tensor.float_val if tensor.dtype == _FLOAT else tensor.double_val
    if len(values) == 1:
        return float(values[0])
    form = "<f" if tensor.dtype == _FLOAT else "<d"
    content = tensor.tensor_content
    return float(struct.unpack(form, content)[0]) if len(content) == struct.calcsize(form) else None
