"""What trials have really done: the lines that `entrypoints/restless.py` leaves, read as they come."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

CellName = tuple[str, int]
"""The arm's mark in the config, and the seed."""


class Epoch(NamedTuple):
    """An epoch that a process has finished. `at`: seconds since 1970."""

    number: int
    pid: int
    at: float


class Trace:
    """Grows with the file; `read` takes in what is new."""

    def __init__(self, file: Path) -> None:
        self._file, self._offset = file, 0
        self.cells: defaultdict[CellName, list[Epoch]] = defaultdict(list)
        self._finished: set[tuple[CellName, int]] = set()
        self._latest: dict[int, CellName] = {}

    def read(self) -> None:
        """Take in the lines since the last call."""
        if not self._file.exists():
            return
        with self._file.open("rb") as lines:
            lines.seek(self._offset)
            whole = lines.read().rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.decode().splitlines():
            mark, seed, number, pid, at = line.split()
            cell = (mark, int(seed))
            self.cells[cell].append(Epoch(int(number), int(pid), float(at)))
            self._finished.add((cell, int(number)))
            self._latest[int(pid)] = cell

    @property
    def finished(self) -> int:
        """Epochs that are finished, each counted once."""
        return len(self._finished)

    def last(self, cell: CellName) -> Epoch:
        """The cell's latest epoch, by whatever process."""
        return self.cells[cell][-1]

    def doing(self, pid: int) -> CellName | None:
        """The cell of the process's latest epoch."""
        return self._latest.get(pid)

    def repeated(self, cell: CellName, since: float) -> int:
        """Epochs that the process of that time had finished when another one went on after it, and which that
        one has computed again; 0 when none went on.
        """
        before = [epoch for epoch in self.cells[cell] if epoch.at <= since]
        if not before:
            return 0
        after = [epoch for epoch in self.cells[cell] if epoch.at > since and epoch.pid != before[-1].pid]
        if not after:
            return 0
        reached = max(e.number for e in self.cells[cell] if e.pid == before[-1].pid and e.at <= after[0].at)
        return max(0, reached - after[0].number + 1)

    def again(self, cell: CellName, since: float, not_by: int | None = None) -> float | None:
        """When the cell's next epoch after `since` was finished, by another process than `not_by`."""
        return next((e.at for e in self.cells[cell] if e.at > since and e.pid != not_by), None)
