"""Lines as this program writes most of them, read at once into what they say: a fifth of the time.

A line that is not plain ASCII without escapes, or has a long number, one that is written as a string, deep
nesting or a field of a wrong kind, is left to `jsonlines` and pydantic, which say what is wrong with it. So a
line means the same whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TypeVar

import msgspec

Kind = TypeVar("Kind")
_BLOCK = 1 << 16  # bytes whose lines are looked at together: nearly always nothing is the matter with any
_SHORT, _DEEP = 400, 100  # bytes of a line that cannot be too deep, brackets of one that can
_SEEN_AS = bytes(
    ord("0") if 48 <= code < 58 else code if code == 10 or (32 <= code < 127 and code != 92) else 0
    for code in range(256)
)
_LONG, _ODD = b"0" * 19, b"\0"
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class LineHead(msgspec.Struct):
    """What every line of a journal has."""

    event: str
    v: int
    t: float = 0.0
    driver: int = 0


def lines_with_care(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the lines, each with whether something in it needs care."""
    file = BytesIO(data)  # which shares its bytes: a split would be a second copy of them all
    while lines := file.readlines(_BLOCK):
        some = len(lines[-1]) > _BLOCK or _is_odd(b"".join(lines))
        for line in lines:
            yield line, (len(line) > _SHORT and _is_long(line)) or (some and _is_odd(line))


def needs_care(line: bytes) -> bool:
    """Return whether something in a line needs care."""
    return (len(line) > _SHORT and _is_long(line)) or _is_odd(line)


def _is_odd(lines: bytes) -> bool:
    seen = lines.translate(_SEEN_AS)
    return _ODD in seen or _LONG in seen or b'"nan"' in lines or b'inf"' in lines


def _is_long(line: bytes) -> bool:
    return len(line) > _BLOCK or line.count(b"[") + line.count(b"{") > _DEEP


def reader_of(kind: type[Kind]) -> Callable[[bytes], Kind]:
    """Return what reads a line without oddities as one of these; it raises one of `UNREADABLE`."""
    return msgspec.json.Decoder(kind).decode
