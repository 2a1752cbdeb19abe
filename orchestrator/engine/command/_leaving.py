"""The checkpoints that a command leaves in its directory: found, taken into the record, put back.

In the record a checkpoint is a tree with the paths that its files have below the trial's directory. One that
was named by `orchestrator.report` may lie anywhere: it has a place of its own there.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.engine.attempts import StagedPart, Staging

SETTLED_S = 2.0
"""A directory is whole when nothing in it has changed for so long: its files come one after the other."""
State = tuple[int, int, int]
NAMED = Path(".orchestrator") / "checkpoint"


class LeftCheckpoints:
    """Those of one attempt. `is_open`: whether the command still writes at a path."""

    def __init__(self, folder: Path, pattern: str | None, is_open: Callable[[Path], bool]) -> None:
        self._folder, self._pattern, self._is_open = folder, pattern, is_open
        self._ahead_s = _ahead(folder)
        self._taken: dict[Path, State] = {path: _state(path) for path in self._matches()}

    def take(self, named: Path | None = None, before: float = math.inf) -> StagedPart | None:
        """Return a copy of the newest that was not taken before, if there is one that is whole.

        `before`: by the clock of this machine; what was left later belongs to a later report.
        `named`: a copy of ours of the one that the command has named; then no other counts.
        """
        if named is not None:
            part = _staged(named, NAMED)
            clear(named)
            return part
        return self._newest(
            lambda path, state: state[0] / 1e9 - self._ahead_s <= before and self._is_whole(path)
        )

    def unseen(self) -> list[Path]:
        """Return those that were neither taken nor there at the beginning, by their paths there."""
        return [
            path.relative_to(self._folder)
            for path in self._matches()
            if self._taken.get(path) != _state(path)
        ]

    def whole(self, *, killed: bool) -> dict[Path, State]:
        """Return those that nobody writes at now, as they are. `killed`: the command is gone, and did not end
        by itself: what is young may be torn.
        """
        return {path: _state(path) for path in self._matches() if self._is_whole(path, killed=killed)}

    def take_last(self, whole: Mapping[Path, State] | None) -> StagedPart | None:
        """Return a copy of the newest that was not taken before, of a command that has ended.

        `whole`: those that were before it was killed; None: it has ended by itself, and all are.
        """
        return self._newest(lambda path, state: whole is None or whole.get(path) == state)

    def _newest(self, counts: Callable[[Path, State], bool]) -> StagedPart | None:
        for path in sorted(self._matches(), key=lambda path: _state(path), reverse=True):
            state = _state(path)
            if self._taken.get(path) == state:
                return None
            if not counts(path, state):
                continue
            part = _staged(path, path.relative_to(self._folder))
            if part is not None and _state(path) == state:
                self._taken[path] = state
                return part
            if part is not None:
                part.discard()  # it was written meanwhile
        return None

    def _is_whole(self, path: Path, *, killed: bool = False) -> bool:
        """Whether nobody writes at it, as far as open files and its age tell."""
        young = (killed or path.is_dir()) and time.time() - (
            _state(path)[0] / 1e9 - self._ahead_s
        ) < SETTLED_S
        return not (young or self._is_open(path))

    def _matches(self) -> Iterator[Path]:
        return matches(self._folder, self._pattern)


def _ahead(folder: Path) -> float:
    """Return how much the clock of this disk is ahead of this machine's."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"1")
        probe.flush()
        return os.fstat(probe.fileno()).st_mtime - time.time()


def matches(folder: Path, pattern: str | None) -> Iterator[Path]:
    """Yield what a pattern finds below a directory, without what lies elsewhere and is linked there."""
    home = folder.resolve()
    for path in folder.glob(pattern) if pattern else ():
        with suppress(OSError):
            if path.resolve() == home / path.relative_to(folder):
                yield path


def put_back(source: Path, folder: Path, pattern: str | None) -> Path:
    """Copy a checkpoint of the record to where the command left it; returns the path to hand it."""
    found = next((one for one in (source / NAMED, *matches(source, pattern)) if one.exists()), source)
    below = found.relative_to(source)
    target = folder / below
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    if found.is_dir():
        shutil.copytree(found, beside, symlinks=True)
        clear(target)
    else:
        shutil.copy2(found, beside)
    beside.replace(target)
    return target


def clear(path: Path) -> None:
    """Remove a file or a directory; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _state(path: Path) -> State:
    """When it was changed last, and how many files and bytes it has."""
    files = [path]
    if path.is_dir():
        files += [file for file in path.rglob("*") if not file.is_dir()]
    states = []
    for file in files:
        with suppress(OSError):
            states.append(file.stat())
    newest = max((state.st_mtime_ns for state in states), default=0)
    return newest, len(states), sum(state.st_size for state in states)


def _staged(path: Path, below: Path) -> StagedPart | None:
    staging = Staging()
    try:
        target = staging.path / below
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True)
        else:
            shutil.copy2(path, target)
        return StagedPart(staging)
    except FileNotFoundError:  # the command has removed it meanwhile
        staging.remove()
        return None
    except BaseException:
        staging.remove()
        raise
