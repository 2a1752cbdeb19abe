"""The user's code on a worker: the snapshot that was taken when the study started, never the live files."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from orchestrator.engine.messages import RunFacts
from orchestrator.record.codearchive import unpack_code


def fetch_code(facts: RunFacts) -> Path | None:
    """Unpack the study's code once per node; returns its root, or None for an installed package."""
    if facts.module_root is None:
        return None
    home = Path(tempfile.gettempdir()) / f"orchestrator-code-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    target = home / facts.code_hash
    with (home / f"{facts.code_hash}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".complete").exists():
            archive = facts.storage.read_bytes(facts.code_archive)
            unpack_code(archive, target)
            (target / ".complete").touch()
    return target
