"""`orchestrate logs`: what a trial printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import ArmArgument, StorageOption
from orchestrator.cli.runs import find_run
from orchestrator.decide.states import TrialState
from orchestrator.errors import Fault, InputError
from orchestrator.record.run import Run

if TYPE_CHECKING:
    from orchestrator.study.cells import Cell, Plan

_LANDMARK = 256

StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study", "-s", metavar="STUDY", help="A run directory, a study's name, or its study file."
    ),
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on printing while the trial runs.")]


def command(
    arm: ArmArgument,
    seed: Annotated[int, typer.Argument(metavar="SEED", help="The seed of the trial.")],
    study: StudyOption = None,
    storage: StorageOption = "runs",
    sample: Annotated[
        int | None, typer.Option("--sample", min=0, help="A sample of the search instead (the seed is its).")
    ] = None,
    rank: Annotated[int, typer.Option("--rank", min=0, help="Which worker of the trial.")] = 0,
    follow: FollowOption = False,
    path_only: Annotated[bool, typer.Option("--path", help="Print where the log is instead.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Print the log of one trial."""
    if cluster is not None:
        words = ["logs", arm, str(seed), "--study", STUDY, "--rank", str(rank)]
        words += [] if sample is None else ["--sample", str(sample)]
        words += [word for word, wanted in (("--follow", follow), ("--path", path_only)) if wanted]
        oncluster.verb(cluster, words, study, given(storage))
    run = find_run(study, storage)
    cell = _find_cell(run.view().plan, arm, seed, sample)
    path = run.paths.trial(cell.arm, cell.seed, cell.sample, cell.phase).log(rank)
    if path_only:
        console.data(run.storage.path(path))
        return
    if not run.storage.grown(path) and not follow:
        raise InputError(Fault("this trial has no log yet", value=run.storage.path(path)))
    if not follow and not _content(run, path):
        console.progress("the log is empty: the trial has printed nothing")
    # looked up before the read: what a trial writes last is then still printed
    tail(lambda: _content(run, path), lambda: follow and _is_open(run, cell), lambda: time.sleep(0.5))


def tail(read: Callable[[], bytes], more: Callable[[], bool], wait: Callable[[], None]) -> None:
    """Print what `read` returns, and what it grows by as long as there may be `more`."""
    seen = b""
    while True:
        going_on = more()
        content = read()
        start = len(seen)
        if content[:start] != seen:
            # the middle of a long log is cut away: go on behind what was printed last
            found = content.rfind(seen[-_LANDMARK:])
            start = 0 if found < 0 else found + len(seen[-_LANDMARK:])
        sys.stdout.write(content[start:].decode("utf-8", errors="replace"))
        sys.stdout.flush()
        seen = content
        if not going_on:
            return
        wait()


def _content(run: Run, path: str) -> bytes:
    return b"".join(run.storage.read_bytes(part) for part in run.storage.grown(path))


def _is_open(run: Run, cell: Cell) -> bool:
    """The trial runs or waits, and somebody drives the study."""
    from orchestrator.report.standing import standing

    found = standing(run)
    state = next(view.state for view in found.cells if view.cell == cell.cell)
    return found.driver is not None and state in (TrialState.PENDING, TrialState.RUNNING)


def _find_cell(plan: Plan, arm: str, seed: int, sample: int | None) -> Cell:
    """The trial of that seed or sample; of two phases under one seed the later one."""
    from orchestrator.study.faults import nearest

    arms = [known.name for known in plan.arms]
    if arm not in arms:
        raise InputError(Fault("the study has no such arm", field="ARM", value=arm, hint=nearest(arm, arms)))
    cells = [cell for cell in plan.cells if cell.arm == arm]
    found = [cell for cell in cells if (cell.seed, cell.sample) == (seed, sample)]
    if found:
        return found[-1]
    if sample is None:
        what, field, value = "seed", "SEED", seed
        valid = [str(cell.seed) for cell in cells if cell.sample is None]
    else:
        what, field, value = "sample under this seed", "--sample", sample
        valid = [str(cell.sample) for cell in cells if cell.seed == seed and cell.sample is not None]
    hint = f"valid: {', '.join(dict.fromkeys(valid)) or 'none'}"
    raise InputError(Fault(f"the arm has no such {what}", field=field, value=str(value), hint=hint))
