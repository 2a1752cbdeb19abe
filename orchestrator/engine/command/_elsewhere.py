"""What a command writes outside of its directory, as far as that shows without tracing other processes.

Two things show: the files that it has open now and then, and the files that its words name. They are told as
an `open` of this process is, by an audit event; `engine.place` hears of both.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SELDOM = 8
"""Open files are looked at the 1st, 2nd, 4th and then each 8th time: that goes through all processes here."""
_HEAD = 4096


@dataclass(frozen=True)
class _File:
    changed: int
    size: int
    head: bytes

    @classmethod
    def at(cls, path: Path) -> _File | None:
        with suppress(OSError):
            state = path.stat()
            if path.is_file():  # a pipe would be waited for
                with path.open("rb") as file:
                    return cls(state.st_mtime_ns, state.st_size, file.read(_HEAD))
        return None

    def added_to(self, now: _File) -> bool:
        """Whether that may be this file with something at its end: a log."""
        return now.size > self.size and now.head.startswith(self.head)


class WritesElsewhere:
    """Of one command, that works in `folder`; made before it starts."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self._folder, self._heard = folder, set[Path]()
        named = [path for path in _paths(words) if not path.is_relative_to(folder) and not path.is_dir()]
        self._named = {path: _File.at(path) for path in named}
        self._turn = 0

    def due(self) -> bool:
        """Whether open files are to be looked at in this turn."""
        self._turn += 1
        return self._turn in (1, 2, 4) or self._turn % SELDOM == 0

    def look(self, writing: Mapping[Path, int]) -> None:
        """Tell of files that the command has open to write, each once; `writing`: with the flags of opens."""
        for path, flags in writing.items():
            if path not in self._heard and not path.is_relative_to(self._folder):
                self._tell(path, flags)

    def ended(self) -> None:
        """Tell of files that its words name and that are others now."""
        for path, before in self._named.items():
            now = _File.at(path)
            if now is not None and now != before and path not in self._heard:
                added = before is not None and before.added_to(now)
                self._tell(path, os.O_WRONLY | (os.O_APPEND if added else 0))

    def _tell(self, path: Path, flags: int) -> None:
        self._heard.add(path)
        sys.audit("open", str(path), None, flags)


def _paths(words: Iterable[str]) -> Iterator[Path]:
    """Yield the absolute paths that words name: `/a/b`, `--out=/a/b`, and those in a shell's text."""
    for word in words:
        parts = [word]
        if " " in word:
            with suppress(ValueError):
                parts = shlex.split(word)
        for part in parts:
            name = part if part.startswith("/") else part.partition("=")[2]
            if name.startswith("/") and "\0" not in name:
                yield Path(os.path.normpath(name))
