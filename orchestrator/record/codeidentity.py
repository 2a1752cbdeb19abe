"""Whether the code is still the one that a study was begun with: by the files that its results depend on.

Those are the files that the study names, all that they import as far as reading them tells
(`study.imported`), and all that a trial was seen to import besides (`TrialEnd.imported`). Old and new files
are compared, not hashes: what else lies below the directory may change.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from orchestrator.record.codearchive import files_in, hash_of, pack_files, read_code
from orchestrator.study.entrypoint import EntrypointSource
from orchestrator.study.imported import counted_files
from orchestrator.study.spec import StudySpec

SHOWN_FILES, SHOWN_LINES = 10, 40
"""How much is shown of a difference: files by name, lines of all of them together."""


@dataclass(frozen=True)
class PackedCode:
    """The user's code as it was when a run started.

    `root` is None for a package that is installed on every node: `env.json` has its version. `hash`: of the
    files that results depend on, `counted`; `archive`: those and all other code and small text below `root`.
    """

    root: Path | None
    hash: str
    archive: bytes
    counted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, source: EntrypointSource, spec: StudySpec) -> PackedCode:
        """Read and pack what is below the entrypoint's root now."""
        if "site-packages" in source.root.parts:
            return cls(None, "installed", b"")
        files = read_code(source.root, named=source.named)
        counted = counted_files(files, spec)
        return cls(source.root, hash_of(files, counted), pack_files(files), counted)


@dataclass(frozen=True)
class FileChange:
    """A file that results depend on, before and now; None: it is not there."""

    name: str
    before: bytes | None
    now: bytes | None

    @property
    def what(self) -> str:
        """In words."""
        kind = "new" if self.before is None else "gone" if self.now is None else "changed"
        return f"{self.name} is {kind}"

    def diff(self, most: int = SHOWN_LINES) -> list[str]:
        """Return the first lines of a unified diff with one line of context; none for a file that is new."""
        if self.before is None or self.now is None:
            return []
        then, now = (data.decode("utf-8", "replace").splitlines() for data in (self.before, self.now))
        lines = list(difflib.unified_diff(then, now, n=1, lineterm=""))[2:]
        left = len(lines) - most
        return [*lines[:most], f"... {left} more lines"] if left > 0 else lines


def changes(old: bytes, new: bytes, spec: StudySpec, seen: Iterable[str] = ()) -> list[FileChange] | None:
    """Return what differs between two archives of what the results of a study depend on.

    None when one of them cannot be read. `seen`: files that trials have imported besides.
    """
    if old and old == new:
        return []
    before, now = files_in(old), files_in(new)
    if before is None or now is None:
        return None
    counted = counted_files(before, spec, seen) | counted_files(now, spec, seen)
    return [
        FileChange(name, before.get(name), now.get(name))
        for name in sorted(counted)
        if before.get(name) != now.get(name)
    ]


def with_added(old: bytes, new: bytes) -> bytes:
    """Return the old archive with those files of the new one that it lacks; the same bytes if it lacks none.

    So what is frozen stays as it was, and a module that a later arm names is there.
    """
    before, now = files_in(old), files_in(new)
    if before is None or now is None or now.keys() <= before.keys():
        return old
    return pack_files({**now, **before})


def shown_changes(found: Iterable[FileChange]) -> Mapping[str, list[str]]:
    """Return what to show of changes: each file in words, with its share of the lines of difference."""
    found, left = list(found), SHOWN_LINES
    shown: dict[str, list[str]] = {}
    for change in islice(found, SHOWN_FILES):
        lines = change.diff(max(0, left)) if left > 0 else []
        shown[change.what], left = lines, left - len(lines)
    if len(found) > SHOWN_FILES:
        shown[f"{len(found) - SHOWN_FILES} more files differ"] = []
    return shown
