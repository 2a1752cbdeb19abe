"""Some lines of a journal that was read up to a mark, without the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from orchestrator.record.journal import JournalContents, Line, read_line
from orchestrator.record.plainlines import needs_care
from orchestrator.record.storage import Storage

_WINDOW = 1 << 18  # bytes that are read at once from the end on


def newest_first(storage: Storage, contents: JournalContents) -> Iterator[Line]:
    """Yield the lines that count, those before a mark included, from the last one on."""
    if not contents.earlier:
        yield from reversed(contents.lines)
        return
    for part in reversed(list(contents.parts)):
        size = contents.parts[part]
        taken, wanted, start = 0, _WINDOW, size
        while start > 0:
            start, wanted = max(0, size - wanted), 8 * wanted
            texts = storage.read_bytes(part, written_once=True, start=start)[: size - start].split(b"\n")
            whole = texts[start > 0 : -1]  # the first may be the end of a line
            found = (read_line(text, needs_care(text)) for text in reversed(whole[: len(whole) - taken]))
            yield from (line for line in found if line is not None)
            taken = len(whole)


def lines_with(
    storage: Storage,
    contents: JournalContents,
    words: re.Pattern[bytes],
    wanted: Callable[[bytes], object],
) -> Iterator[Line]:
    """Yield the lines with these words that are `wanted`, those before a mark included, in order.

    No other line is looked at: the files are searched as a whole.
    """
    for part, size in contents.parts.items():
        data = storage.read_bytes(part, written_once=True)[:size]
        end = -1
        for match in words.finditer(data):
            if match.start() < end:
                continue  # a line that has them twice
            end = data.find(b"\n", match.end())
            text = data[data.rfind(b"\n", 0, match.start()) + 1 : end]
            line = read_line(text, needs_care(text)) if end >= 0 and wanted(text) else None
            if line is not None:
                yield line
            if end < 0:
                break
