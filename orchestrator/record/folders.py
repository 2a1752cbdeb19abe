"""Local directories that survive a crash: a file is safe when its name, too, is on the disk."""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make a directory with its parents; the new names are on the disk when this returns."""
    made: list[Path] = []
    while not folder.is_dir():
        made.append(folder)
        folder = folder.parent
    for new in reversed(made):
        new.mkdir(exist_ok=True)
    for new in reversed(made):
        sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a directory on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
