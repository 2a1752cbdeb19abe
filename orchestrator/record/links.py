"""Symbolic links must not lead out of a study's directory: others may write there than who runs the study."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import Fault, StudyError, UnreadableRecord


def refuse_to_leave(path: Path, home: Path) -> None:
    """Raise `UnreadableRecord` when `path`, links followed, lies outside of `home` (without links)."""
    if not _stays(path, home):
        raise UnreadableRecord(_fault(path))


def refuse_links_out(root: Path) -> None:
    """Look for links below `root` that lead out of it. Raises `StudyError` with every one."""
    home = root.resolve()
    faults: list[Fault] = []
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink() and not _stays(path, home):
                faults.append(_fault(path))
    if faults:
        raise StudyError(faults)


def _stays(path: Path, home: Path) -> bool:
    try:
        return path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # links in a circle lead nowhere
        return False
    except ValueError:  # a NUL: the operation itself says so
        return True


def _fault(path: Path) -> Fault:
    return Fault(
        "a symbolic link leads out of the study's directory, or in a circle",
        file=str(path),
        hint="remove the link; only the storage root itself may be one",
    )
