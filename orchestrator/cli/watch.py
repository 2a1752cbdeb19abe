"""`orchestrate watch`: the status of a study, again and again, until nobody runs it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from orchestrator.api.recorded import open_study
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import StorageOption, StudyArgument
from orchestrator.cli.status import arms_table
from orchestrator.report.standing import StudyStanding
from orchestrator.report.standingwords import explanations, headline

EveryOption = Annotated[
    float, typer.Option("--every", metavar="SECONDS", min=0.5, help="Time between two looks.")
]


def command(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    every: EveryOption = 2.0,
    cluster: ClusterOption = None,
) -> None:
    """Follow a running study.

    The status again and again, until nobody runs the study any more.
    """
    if cluster is not None:
        oncluster.verb(cluster, ["watch", STUDY, "--every", str(every)], study, given(storage))
    run = open_study(study, storage)
    follow = follow_on_screen if sys.stdout.isatty() else follow_as_lines
    follow(run.status, lambda: time.sleep(every))


def follow_as_lines(look: Callable[[], StudyStanding], wait: Callable[[], None]) -> None:
    """Print a line whenever something has changed: for pipes and logs."""
    shown = ""
    while True:
        found = look()
        if headline(found) != shown:
            shown = headline(found)
            console.data(shown)
            sys.stdout.flush()
        if found.driver is None:
            return
        wait()


def follow_on_screen(look: Callable[[], StudyStanding], wait: Callable[[], None]) -> None:
    """Print the whole status, redrawn in place."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=console.screen(), auto_refresh=False) as live:
        while True:
            found = look()
            lines = [Text(line) for line in explanations(found)]
            live.update(Group(Text(headline(found)), arms_table(found), *lines), refresh=True)
            if found.driver is None:
                return
            wait()
