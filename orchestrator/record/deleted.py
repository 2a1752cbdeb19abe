"""Trials whose directory somebody has deleted: what they have answered still counts, and is all there is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from orchestrator.decide.states import TrialState
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage

_ENDED = frozenset({TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED, TrialState.FAILED})
"""One that was cancelled may never have come to a worker, which makes the directory."""
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


def deleted(storage: Storage, paths: StudyPaths, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that have run to an end and have no directory; stores are not asked that often."""
    if not storage.is_local:
        return []
    there: dict[str, set[str]] = {}
    found = []
    for trial in trials:
        if trial.state in _ENDED and trial.begun:
            folder, _, name = trial.trial_dir.rpartition("/")
            if folder not in there:
                there[folder] = _directories(storage.path(f"{paths.root}/{folder}"))
            if name not in there[folder]:
                found.append(trial)
    return found


def _directories(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_dir()}
    except OSError as error:
        if error.errno in _NOT_THERE:
            return set()
        raise
