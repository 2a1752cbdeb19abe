"""Symbolic links must not lead out of a study's directory: others may write there than who runs the study."""

from __future__ import annotations

import os
from collections.abc import Iterable
from errno import ELOOP
from itertools import accumulate, islice
from pathlib import Path
from stat import S_ISLNK

from orchestrator.errors import Fault, StudyError, UnreadableRecord


def refuse_to_leave(path: Path, home: str) -> None:
    """Raise `UnreadableRecord` when `path`, links followed, lies outside of `home` (without links)."""
    if not _stays(path, home):
        raise UnreadableRecord(_fault(path))


def has_link(root: str, parts: Iterable[str]) -> bool:
    """Whether there is a link on the way from `root` down: quick to tell, and nothing leads out without."""
    return any(map(os.path.islink, islice(accumulate(parts, "{}/{}".format, initial=root), 1, None)))


def refuse_links_out(root: Path) -> None:
    """Look for links below `root` that lead out of it. Raises `StudyError` with every one."""
    home = os.path.realpath(root)
    faults: list[Fault] = []
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink() and not _stays(path, home):
                faults.append(_fault(path))
    if faults:
        raise StudyError(faults)


def _stays(path: Path, home: str) -> bool:
    try:
        real = os.path.realpath(path)  # half the time of `Path.resolve`: it is asked at every turn
        inside = f"{real}/".startswith(f"{home}/")
        return inside and not S_ISLNK(os.lstat(real).st_mode)  # still a link: it leads in a circle
    except OSError as error:  # most often it is not there yet
        return error.errno != ELOOP
    except ValueError:  # a NUL: the operation itself says so
        return True


def _fault(path: Path) -> Fault:
    return Fault(
        "a symbolic link leads out of the study's directory, or in a circle",
        file=str(path),
        hint="remove the link; only the storage root itself may be one",
    )
