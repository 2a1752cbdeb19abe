"""The project as a trial sees it: directories are its own, the files in them are links to the project's.

So what is opened for reading is the project's file, and what is made lands in the trial. Directories are
gone through by breadth, and linked as a whole once `MOST_LINKS` links are made: those are data sets, whose
files are read only. `own` makes such a directory, or a linked file, the trial's when something is written
there after all.

    base/               the two directories above the project: links, so that `../data` is found
      code/
        project/        the working directory
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

MOST_LINKS = 1000
"""Links of one trial, beyond those of the project's own top level."""
MOST_SEEN = 4 * MOST_LINKS
"""Entries that are read to find them; directories that come later are linked as a whole, unread."""
MOST_ABOVE = 200
"""Links to what lies beside the project, and beside the directory above it."""
MOST_OWNED = 5000
"""Entries of a linked directory that is made the trial's when it writes there."""
_LEVELS = 2
_YOUNG_NS = 2_500_000_000
"""A directory that was changed less than that ago may be changed again within a tick of its clock, which
takes two seconds on some file systems."""
_NEVER = ("__pycache__",)
_CODE = (".py", ".pyi")


@dataclass(frozen=True)
class CopiedCode:
    """The study's copy of its code on this machine, and the directory that it is a copy of."""

    copy: Path
    came_from: Path


def working_directory(base: Path, project: Path) -> Path:
    """Return where the project stands below `base`: as deep as `..` is to be found."""
    above = [folder for folder in project.parents if folder.name][:_LEVELS]
    return base.joinpath(*(folder.name for folder in reversed(above[:-1])), project.name or "root")


def lay_out(
    base: Path, project: Path, records: Path | None = None, code: CopiedCode | None = None
) -> dict[str, int]:
    """Make the working directory below `base`, or what is missing of it.

    Returns the directories that were gone through for it, and when each was changed (ns).

    `records`: the storage of studies; where it lies in the project, its directories are linked as a whole.
    `code`: of this the trial sees the copy of the study, which does not change while somebody edits it.
    """
    home = working_directory(base, project)
    home.mkdir(parents=True, exist_ok=True)
    theirs, ours = project, home
    seen: dict[str, int] = {}
    while ours != base:
        _see(theirs.parent, seen)
        for entry in _listed(theirs.parent, MOST_ABOVE):
            if entry.name != theirs.name and not entry.name.startswith("."):
                link(entry.path, f"{ours.parent}/{entry.name}")
        theirs, ours = theirs.parent, ours.parent
    if code is not None and code.came_from.is_relative_to(project):
        _link_code(code.copy, home / code.came_from.relative_to(project))
    _mirror(project, home, records, seen)
    return seen


def _see(folder: Path, seen: dict[str, int]) -> None:
    with suppress(OSError):
        seen[str(folder)] = folder.stat().st_mtime_ns


def still(seen: dict[str, int]) -> bool:
    """Whether nothing was added to these directories, nor taken away."""
    with suppress(OSError):
        return all(os.stat(folder).st_mtime_ns == changed for folder, changed in seen.items())  # noqa: PTH116
    return False


def _link_code(copy: Path, home: Path) -> None:
    links = 0
    for folder, folders, names in os.walk(copy):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NEVER)
        code = [name for name in sorted(names) if name.endswith(_CODE)]
        ours = home / Path(folder).relative_to(copy)
        if code:
            ours.mkdir(parents=True, exist_ok=True)
        for name in code:
            link(f"{folder}/{name}", f"{ours}/{name}")
        links += len(code)
        if links > MOST_LINKS:
            return


def _mirror(project: Path, home: Path, records: Path | None, gone_through: dict[str, int]) -> None:
    left, seen = MOST_LINKS, 0
    waiting = deque([(project, home)])
    while waiting:
        theirs, ours = waiting.popleft()
        most = None if theirs == project else max(0, min(left, MOST_SEEN - seen))
        _see(theirs, gone_through)
        entries = [] if most == 0 else _listed(theirs, None if most is None else most + 1)
        seen += 0 if most is None else len(entries)
        if most is not None and (len(entries) > most or not most):
            if not ours.is_dir():
                link(str(theirs), str(ours))
                continue
            entries = _listed(theirs, MOST_OWNED)  # there is code in it
        with suppress(FileExistsError):
            ours.mkdir()
        if ours.is_symlink() or not ours.is_dir():
            continue  # an earlier attempt has put something else there
        for entry in entries:
            if entry.name in _NEVER:
                continue
            if theirs != records and entry.is_dir(follow_symlinks=False) and not _whole(entry):
                waiting.append((Path(entry.path), ours / entry.name))
            else:
                link(entry.path, f"{ours}/{entry.name}")
                left -= most is not None


def _whole(entry: os.DirEntry[str]) -> bool:
    """Whether a directory is linked as one: hidden ones, environments, installed packages."""
    hidden = entry.name.startswith(".") or entry.name in ("node_modules", "site-packages")
    return hidden or Path(entry.path, "pyvenv.cfg").exists()


def _listed(folder: Path, most: int | None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as scan:
            return sorted(islice(scan, most), key=lambda entry: entry.name)
    except OSError:  # not ours to read
        return []


def link(target: str, at: str) -> None:
    """Make a link, unless something is there: another rank's, or what an earlier attempt has written."""
    with suppress(FileExistsError):
        os.symlink(target, at)  # noqa: PTH211 - a thousand of them


def foreign(path: Path, base: Path) -> bool:
    """Whether it is a link that `lay_out` has made: an absolute one that leads out of `base`."""
    return path.is_symlink() and (target := os.readlink(path)).startswith("/") and not _below(target, base)  # noqa: PTH115


def _below(path: str, base: Path) -> bool:
    return path == str(base) or path.startswith(f"{base}/")


def own_folders(path: Path, base: Path) -> bool:
    """Make the directories above a path below `base` the trial's; returns whether they are."""
    folders = [folder for folder in path.parents if folder.is_relative_to(base)]
    return all(_own_folder(folder) for folder in reversed(folders) if foreign(folder, base))


def own(path: Path, base: Path, *, copy: bool) -> None:
    """Make a file the trial's where it is a link: with what it holds, or (no `copy`) to be made anew."""
    if not foreign(path, base) or path.is_dir():
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}.own")
    if copy and path.exists():
        shutil.copy2(path, beside)
        beside.replace(path)
    else:
        path.unlink(missing_ok=True)


def _own_folder(folder: Path) -> bool:
    theirs = Path(os.readlink(folder))  # noqa: PTH115 - one step, and absolute
    entries = _listed(theirs, MOST_OWNED + 1)
    if len(entries) > MOST_OWNED:
        return False
    beside = folder.with_name(f"{folder.name}.{os.getpid()}.own")
    beside.mkdir()
    for entry in entries:
        link(entry.path, f"{beside}/{entry.name}")
    folder.unlink()
    beside.rename(folder)
    return True


def written(base: Path) -> Iterator[Path]:
    """Yield the files below `base` that are the trial's; links stay where they lead."""
    for entry in _listed(base, None):
        yield from (_written_in if entry.is_dir(follow_symlinks=False) else _own_file)(entry)


def _written_in(folder: os.DirEntry[str]) -> Iterator[Path]:
    if folder.name not in _NEVER:
        yield from written(Path(folder.path))


def _own_file(entry: os.DirEntry[str]) -> Iterator[Path]:
    if entry.is_file(follow_symlinks=False):
        yield Path(entry.path)


@dataclass(frozen=True)
class Laid:
    """A working directory as it was laid out: of each directory below `base` its entries, and its time.

    Of a link the entry says where it leads, of a directory nothing. A directory whose time is the same (ns)
    holds what it held: that is a glance at a hundred of them, and not at a thousand links.
    """

    entries: Mapping[str, Mapping[str, str]]
    changed: Mapping[str, int]

    @classmethod
    def seen(cls, base: Path) -> Laid:
        """Look at what lies below `base`."""
        entries = {}
        for folder, folders, names in os.walk(base):
            paths = {name: f"{folder}/{name}" for name in (*folders, *names)}
            entries[folder[len(str(base)) :]] = {
                name: os.readlink(path) if os.path.islink(path) else ""  # noqa: PTH114, PTH115 - a thousand
                for name, path in paths.items()
            }
        return cls(entries, {}).settled(base)

    def settled(self, base: Path) -> Laid:
        """Look at the times anew. One that is too young to tell a later change by does not count."""
        latest = time.time_ns() - _YOUNG_NS
        times = {folder: _changed(f"{base}{folder}") for folder in self.entries}
        return replace(self, changed={folder: when for folder, when in times.items() if when < latest})

    def _touched(self, base: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
        for folder, names in self.entries.items():
            path = f"{base}{folder}"
            if self.changed.get(folder) != _changed(path):
                yield path, names

    def written(self, base: Path) -> Iterator[Path]:
        """Yield the files below `base` that are the trial's, as `written` does."""
        for folder, names in self._touched(base):
            for entry in _listed(Path(folder), None):
                if not entry.is_dir(follow_symlinks=False):
                    yield from _own_file(entry)
                elif names.get(entry.name) != "":
                    yield from _written_in(entry)

    def sweep(self, base: Path) -> bool:
        """Remove what was not there below `base`; returns whether everything is there that was."""
        whole = True
        for folder, names in self._touched(base):
            left = dict(names)
            for entry in _listed(Path(folder), None):
                target = left.pop(entry.name, None)
                if entry.is_dir(follow_symlinks=False):
                    if target != "":
                        shutil.rmtree(entry.path)
                elif not (target and entry.is_symlink() and os.readlink(entry.path) == target):  # noqa: PTH115
                    os.unlink(entry.path)  # noqa: PTH108
                    whole = whole and target is None
            whole = whole and not left
        return whole


def _changed(folder: str) -> int:
    """Return a directory's time; it is opened, as a disk on a network is asked only then."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return os.fstat(opened).st_mtime_ns
        finally:
            os.close(opened)
    return -1


def linked(home: Path, base: Path) -> list[str]:
    """Return what lies behind the links to the project below `home`."""
    links = (f"{folder}/{name}" for folder, _, names in os.walk(home) for name in names)
    targets = (os.readlink(path) for path in links if os.path.islink(path))  # noqa: PTH114, PTH115 - thousands
    return [target for target in targets if target.startswith("/") and not _below(target, base)]


def states(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return when files were changed (ns), and their sizes in bytes."""
    found = {}
    for path in paths:
        with suppress(OSError):
            state = os.stat(path)  # noqa: PTH116 - a thousand of them
            found[path] = state.st_mtime_ns, state.st_size
    return found
