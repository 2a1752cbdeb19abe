"""The commands that go on with a recorded study: what a button of its page runs, and what it says it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from orchestrator.api.recorded import OpenedStudy
from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting.standing import StudyStanding, retry_words
from orchestrator.study.plan import Cell
from orchestrator.web.form import Field, setting

QUEUE = "queue-"
"""Before the name of an action: it begins after the studies that are on this machine."""
RESUME, RETRY, EXTEND = "resume", "retry-failed", "extend"
LABELS = {RESUME: "Resume", RETRY: "Retry failed", EXTEND: "Extend"}
"""What can be done with a study, as its buttons say it."""
_LEFT = (TrialState.PENDING, TrialState.CANCELLED, TrialState.RUNNING)


def offered(run: OpenedStudy, found: StudyStanding) -> list[str]:
    """Return what can be done with a study that nobody runs and whose files are on this machine."""
    if not rests(run, found):
        return []
    states = {cell.state for cell in found.cells}
    left, failed = bool(states.intersection(_LEFT)), TrialState.FAILED in states
    return [*([RESUME] if left else []), *([RETRY] if failed else []), EXTEND]


def queued(action: str) -> tuple[str, bool]:
    """Return what a button asks for, and whether it is to wait until others here have ended."""
    plain = action.removeprefix(QUEUE)
    return plain, plain != action


def seeds_of(run: OpenedStudy) -> str:
    """Return the seeds of a study as its file would say them: a number, or a list."""
    seeds = run.view().spec["seeds"]
    return json.dumps(len(seeds) if seeds == list(range(len(seeds))) else seeds)


def command_of(run: OpenedStudy, root: Path, action: str, seeds: str) -> list[str]:
    """Return the words of the command, for a shell in `root`.

    It takes the study as it was recorded, with every default. Raises `InputError` for seeds that are none.
    """
    words = ["ablate", "--config", typed(run, run.paths.study_yaml, root)]
    said = str(run.view().spec["storage"])
    if Storage.open(said if "://" in said else root / said).uri != run.storage.uri:
        words.append(f"storage={run.storage.uri}")
    if action == EXTEND:
        words.append(setting(Field("seeds", seeds_of(run), "yaml"), seeds))
    return words if action == RESUME else [*words, f"--{action}"]


def retriable(run: OpenedStudy, found: StudyStanding) -> dict[str, TrialRecord]:
    """Return the cells that can be run again by themselves, by their ids: those that have ended."""
    if not rests(run, found):
        return {}
    named = named_cells(found.cells)
    return {cell.cell: cell for cell in found.cells if cell.state.terminal and cell.cell in named}


def named_cells(cells: Iterable[Cell | TrialRecord]) -> frozenset[str]:
    """Return the cells that a command can name: of two phases under one seed it takes the later one."""
    return frozenset({(cell.arm, cell.seed, cell.sample): cell.cell for cell in cells}.values())


def retry_of(run: OpenedStudy, root: Path, cell: TrialRecord, *, accepts: bool) -> list[str]:
    """Return the words that run a cell again, for a shell in `root`; `accepts`: also with other code."""
    words = retry_words(typed(run, run.paths.root, root), cell)
    return [*words, "--accept-code-change"] if accepts else words


def rests(run: OpenedStudy, found: StudyStanding) -> bool:
    """Whether nobody runs a study whose files are on this machine."""
    return found.driver is None and run.storage.is_local


def typed(run: OpenedStudy, path: str, root: Path) -> str:
    """Return a path of a study's storage as one would type it in `root`."""
    if not run.storage.is_local:
        return f"{run.storage.uri.rstrip('/')}/{path}"
    file = run.storage.local_path(path)
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
