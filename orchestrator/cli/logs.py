"""`orchestrate logs`: what a trial printed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.api.recorded import OpenedStudy, open_study
from orchestrator.cli import completion, console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import ArmArgument, SampleOption, SeedArgument, StorageOption
from orchestrator.decide.states import TrialState
from orchestrator.errors import Fault, InputError

if TYPE_CHECKING:
    from orchestrator.study.cells import Cell

_LANDMARK = 256

StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        "-s",
        metavar="STUDY",
        help="A run directory, a study's name, or its study file.",
        autocompletion=completion.studies,
    ),
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on printing while the trial runs.")]


def command(
    arm: ArmArgument,
    seed: SeedArgument,
    study: StudyOption = None,
    storage: StorageOption = "runs",
    sample: SampleOption = None,
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
    run = open_study(study, storage)
    cell = run.trial(arm, seed, sample)
    path = run.trial_paths(cell).log(rank)
    if path_only:
        console.data(run.storage.path(path))
        return
    if not run.storage.grown(path) and not follow:
        raise InputError(Fault("this trial has no log yet", value=run.storage.path(path)))
    if not follow and not run.storage.read_grown(path):
        console.progress("the log is empty: the trial has printed nothing")
    # looked up before the read: what a trial writes last is then still printed
    read = partial(run.storage.read_grown, path)
    tail(read, lambda: follow and _is_open(run, cell), lambda: time.sleep(0.5))


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
        text = content[start:].decode("utf-8", errors="replace")
        sys.stdout.write(re.sub("\r\n?", "\n", text))  # bars that redraw themselves become lines
        sys.stdout.flush()
        seen = content
        if not going_on or console.unheard():
            return
        wait()


def _is_open(run: OpenedStudy, cell: Cell) -> bool:
    """Tell whether the trial runs or waits, and somebody drives the study."""
    found = run.status()
    state = next(view.state for view in found.cells if view.cell == cell.cell)
    return found.driver is not None and state in (TrialState.PENDING, TrialState.RUNNING)
