"""Files that trials share: which of them were changed by trials, and whose values are doubtful for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.record.state import TrialRecord


@dataclass(frozen=True)
class SharedFile:
    """A file that more than one trial may have read or written, and those that changed it."""

    path: str
    trials: tuple[TrialRecord, ...]
    project: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in `effects.json`."""
        trials = [{"arm": one.arm, "seed": one.seed, "trial_dir": one.trial_dir} for one in self.trials]
        return {"path": self.path, "project": self.project, "trials": trials}

    def __str__(self) -> str:
        names = [trial.name for trial in self.trials]
        who = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        if len(names) > _MOST_NAMES:
            who = f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more trials"
        if self.project:
            return f"{self.path}, a file of the project that all trials read, was changed by {who}"
        return f"{self.path} was written by {who}"


_MOST_NAMES = 6
DOUBTFUL_FLAG = "doubtful"
"""Of an effect that a trial is part of which has changed a file that others share."""
DOUBTFUL = "their values are doubtful: write below the working directory, which is each trial's own"


def shared_files(trials: Iterable[TrialRecord]) -> list[SharedFile]:
    """Return the files of the project that a trial has changed, and others that two or more have written."""
    wrote: dict[str, list[TrialRecord]] = defaultdict(list)
    project = set[str]()
    for trial in trials:
        if not trial.wrote and not trial.shared:
            continue
        for path in dict.fromkeys((*trial.wrote, *trial.shared)):
            wrote[path].append(trial)
        project |= set(trial.shared)
    return [
        SharedFile(path, tuple(who), path in project)
        for path, who in sorted(wrote.items())
        if path in project or len(who) > 1
    ]
