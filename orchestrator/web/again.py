"""The commands that go on with a recorded study: what a button of its page runs, and what it says it runs."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.record.storage import Storage
from orchestrator.reporting.standing import StudyStanding
from orchestrator.web.form import Field, setting

RESUME, RETRY, EXTEND = "resume", "retry-failed", "extend"
_LEFT = (TrialState.PENDING, TrialState.CANCELLED, TrialState.RUNNING)


def offered(run: OpenedStudy, found: StudyStanding) -> list[str]:
    """Return what can be done with a study that nobody runs and whose files are on this machine."""
    if found.driver is not None or not run.storage.is_local:
        return []
    states = {cell.state for cell in found.cells}
    left, failed = bool(states.intersection(_LEFT)), TrialState.FAILED in states
    return [*([RESUME] if left else []), *([RETRY] if failed else []), EXTEND]


def seeds_of(run: OpenedStudy) -> str:
    """Return the seeds of a study as its file would say them: a number, or a list."""
    seeds = run.view().spec["seeds"]
    return json.dumps(len(seeds) if seeds == list(range(len(seeds))) else seeds)


def command_of(run: OpenedStudy, root: Path, action: str, seeds: str) -> list[str]:
    """Return the words of the command, for a shell in `root`.

    It takes the study as it was recorded, with every default. Raises `InputError` for seeds that are none.
    """
    file = run.storage.local_path(run.paths.study_yaml)
    words = ["ablate", "--config", str(file.relative_to(root) if file.is_relative_to(root) else file)]
    said = str(run.view().spec["storage"])
    if Storage.open(said if "://" in said else root / said).uri != run.storage.uri:
        words.append(f"storage={run.storage.uri}")
    if action == EXTEND:
        words.append(setting(Field("seeds", seeds_of(run), "yaml"), seeds))
    return words if action == RESUME else [*words, f"--{action}"]
