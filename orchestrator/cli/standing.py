"""`orchestrate status`, `watch`, `stop`: where a study stands, and a request to its driver to stop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.api.recorded import open_study
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import JsonOption, StorageOption, StudyArgument
from orchestrator.reporting import plain
from orchestrator.reporting.standing import StudyStanding
from orchestrator.reporting.standingwords import arm_rows, explanations, headings, headline

if TYPE_CHECKING:
    from rich.table import Table

EveryOption = Annotated[
    float, typer.Option("--every", metavar="SECONDS", min=0.5, help="Time between two looks.")
]


def status(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    as_json: JsonOption = False,
    cluster: ClusterOption = None,
) -> None:
    """Show where a study stands.

    Why each trial that ended early did, too. Read from the directory: nothing needs to run.
    """
    if cluster is not None:
        oncluster.verb(cluster, ["status", STUDY, *(["--json"] if as_json else [])], study, given(storage))
    opened = open_study(study, storage)
    found = opened.status()
    if as_json:
        console.data_json(found.to_json())
        return
    on_machine = _on_this_machine(opened.storage.path(opened.paths.root))
    console.show(headline(found), *on_machine, arms_table(found), *explanations(found))


def _on_this_machine(root: str) -> list[str]:
    """Say what a study that was started here has of this machine, or waits for, and who else is here."""
    from orchestrator.engine.sharing import StudyRegister, in_words

    tenants = StudyRegister.here().tenants()
    mine = [tenant for tenant in tenants if tenant.root == root]
    others = [tenant for tenant in tenants if tenant.root != root]
    beside = f"; beside it: {in_words(others)}" if others else ""
    return [f"this machine: {in_words(mine)}{beside}"] if mine else []


def watch(
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


def stop(study: StudyArgument = None, storage: StorageOption = "runs", cluster: ClusterOption = None) -> None:
    """Stop a running study.

    From any terminal, as Ctrl-C in its own would; nothing is lost.
    """
    if cluster is not None:
        oncluster.verb(cluster, ["stop", STUDY], study, given(storage))
    recorded = open_study(study, storage)
    driver = recorded.stop()
    if driver is None:
        console.progress(f"{recorded.root}: nobody runs it now, nothing to stop")
        return
    console.progress(f"{recorded.root}: asked {driver} to stop; `orchestrate watch` shows when it has")


def arms_table(found: StudyStanding) -> Table:
    """Arms × seeds as glyphs, phase by phase, with the mean of the finished values of the last one."""
    names = headings(found)
    drawn = console.table(names, arm_rows(found), range(len(names) - 3, len(names)))
    drawn.caption, drawn.caption_justify = plain.legend(found.counts()), "left"
    return drawn


def follow_as_lines(look: Callable[[], StudyStanding], wait: Callable[[], None]) -> None:
    """Print a line whenever something has changed: for pipes and logs."""
    shown = ""
    while True:
        found = look()
        if headline(found) != shown:
            shown = headline(found)
            console.data(shown)
            sys.stdout.flush()
        if found.driver is None or console.unheard():
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
