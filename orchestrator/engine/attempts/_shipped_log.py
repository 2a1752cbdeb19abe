"""A trial's log on an object store: on the worker's machine while the trial runs, put there at its end."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from orchestrator.errors import StorageUnavailable
from orchestrator.record.storage import Storage

log = logging.getLogger(__name__)


def local_log(storage: Storage, target: str) -> Path:
    """Where this process writes a log that is to be `target` on the storage."""
    path = Path(tempfile.gettempdir()) / f"orchestrator-{os.getpid()}" / target
    if storage.is_local:
        path = Path(storage.local_path(target))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def ship_log(storage: Storage, written: Path, target: str) -> None:
    """Append `written` to `target` on the storage and remove it; nothing to do where they are the same file.

    A log that cannot be stored is no reason to lose the trial: it stays where it is, with a warning.
    """
    if storage.is_local or not written.exists():
        return
    try:
        before = storage.read_bytes(target) if storage.exists(target) else b""
        storage.write_atomic(target, before + written.read_bytes())
        written.unlink()
    except (OSError, StorageUnavailable) as error:
        log.warning("%s could not be stored as %s: %s", written, target, error)
