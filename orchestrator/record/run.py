"""A recorded study and where it lies. Light: what it needs of pyarrow it imports when it reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.recorded import RecordedStudy
    from orchestrator.record.storage import Storage


@dataclass(frozen=True)
class Run:
    """A recorded study: `paths.root` below `storage`."""

    storage: Storage
    paths: StudyPaths
    _read: list[RecordedStudy] = field(default_factory=list, init=False, compare=False, repr=False)

    @property
    def root(self) -> str:
        """Where it lies, as a user would write it."""
        where = self.storage.path(self.paths.root)
        if not self.storage.is_local:
            return f"{self.storage.uri.rstrip('/')}/{self.paths.root}"
        path = Path(where)
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else where

    def view(self) -> RecordedStudy:
        """Read everything that is recorded now; the journal only when more was written since the last call.

        Raises `StudyError` when the record is damaged.
        """
        from orchestrator.record.recorded import read_study

        now = self._read[0].again() if self._read else read_study(self.storage, self.paths.root)
        self._read[:] = [now]
        return now
