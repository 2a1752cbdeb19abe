"""TensorBoard reads local directories: event files of a remote study are copied there as they grow."""

from __future__ import annotations

from pathlib import Path

from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage


def mirror_events(storage: Storage, paths: StudyPaths, local_dir: Path) -> int:
    """Copy the event files (and segments) below `trials/` that are new or have grown; returns how many.

    Local files keep the paths that they have below `trials/`. Calling it again copies only what is new.
    """
    copied = 0
    for name, size in storage.sizes(paths.trials_dir).items():
        target = Path(local_dir) / name
        if ".tfevents." not in target.name or (target.exists() and target.stat().st_size == size):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.tmp")
        partial.write_bytes(storage.read_bytes(f"{paths.trials_dir}/{name}"))
        partial.replace(target)
        copied += 1
    return copied
