"""When a study was driven: from the start of each driver to the last line before the next one's."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.record.events import StudyStarted
from orchestrator.record.journal import JournalContents, Line, decode
from orchestrator.record.storage import Storage

_A_START = re.compile(rb'"event": ?"' + StudyStarted.kind.encode() + rb'"')


@dataclass(frozen=True)
class Spells:
    """`began`: of the first driver; `before`: seconds of all drivers but the last; `last`: its start."""

    began: float
    before: float
    last: float

    def wall_s(self, now: float) -> float:
        """Return for how long the study was driven, when the last driver drove it until `now`."""
        return self.before + max(0.0, now - self.last)


def spells(storage: Storage, contents: JournalContents) -> Spells | None:
    """Return when drivers have begun; None of a journal without a line.

    Where lines were passed over that a snapshot knows of, they are searched for starts, not read.
    """
    lines = _around_starts(storage, contents) if contents.earlier else contents.lines
    return spells_of([line for line in lines if math.isfinite(line.t)])


def spells_of(lines: Sequence[Line]) -> Spells | None:
    """Return when drivers have begun; of a driver the first and the last line are enough."""
    if not lines:
        return None
    began = last = lines[0].t
    before = 0.0
    for line, following in pairwise(lines):
        if isinstance(following.event, StudyStarted):
            before, last = before + max(0.0, line.t - last), following.t
    return Spells(began, before, last)


def _around_starts(storage: Storage, contents: JournalContents) -> Iterable[Line]:
    """Yield each start with the line before it, and the first and the last line of every file."""
    for part, size in contents.parts.items():
        data = storage.read_bytes(part, written_once=True)[:size]
        starts = [_line_start(data, found.start()) for found in _A_START.finditer(data)]
        around = [_line_start(data, max(0, start - 1)) for start in starts]
        for start in sorted({0, *starts, *around, _line_start(data, len(data) - 1)}):
            line = decode(data[start : data.find(b"\n", start)])
            if line is not None:
                yield line


def _line_start(data: bytes, place: int) -> int:
    return data.rfind(b"\n", 0, place) + 1
