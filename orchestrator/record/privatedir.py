"""Directories of this user alone, where others may write, too: below the temporary directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def is_private(folder: Path) -> bool:
    """Whether it is a directory of this user's that nobody else can enter. Raises `OSError` for none."""
    found = folder.lstat()
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not stat.S_IMODE(found.st_mode) & 0o077
    )


def make_private(folder: Path) -> Path:
    """Make the directory, or take the one that is there.

    Raises:
        PermissionError: others can enter what is there: they might change code or files of a trial.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(
            f"{folder} has to be a directory of this user's alone (mode 0700); remove it, or set TMPDIR"
        )
    return folder
