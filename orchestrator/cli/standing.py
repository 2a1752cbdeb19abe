"""`orchestrate status`, `watch`, `stop`: where a study stands, and a request to its driver to stop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.api.recorded import open_study, places_of
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import JsonOption, StorageOption, StudyArgument
from orchestrator.reporting import plain
from orchestrator.reporting.standing import StudyStanding
from orchestrator.reporting.standingwords import arm_rows, explanations, headings, headline

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from orchestrator.api.watching import Watched

CURVES = "curve"
LEAST_FOR_CURVES = 80
"""Columns of a terminal in which the arms' curves have room."""
LINES_AROUND = 8
"""Of what stands around arms and effects, and of a few trials that run."""

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
    from orchestrator.engine.sharing import StudyQueue, StudyRegister, in_words

    waits = [ahead for one, ahead in StudyQueue.here().waiting() if one.root == root]
    if waits:
        return [f"this machine: waits for {', '.join(waits[0])} to end"]
    tenants = StudyRegister.here().tenants()
    mine = [tenant for tenant in tenants if tenant.root == root]
    others = [tenant for tenant in tenants if tenant.root != root]
    beside = f"; beside it: {in_words(others)}" if others else ""
    return [f"this machine: {in_words(mine)}{beside}"] if mine else []


def watch(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    every: EveryOption = 2.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON document a line, whenever something has changed.")
    ] = False,
    cluster: ClusterOption = None,
) -> None:
    """Follow a running study.

    The status again and again, until nobody runs the study any more. In a terminal with the learning curves
    of the arms and the effects so far, where it is wide enough.
    """
    if cluster is not None:
        words = ["watch", STUDY, "--every", str(every), *(["--json"] if as_json else [])]
        oncluster.verb(cluster, words, study, given(storage))
    run = open_study(study, storage)
    if sys.stdout.isatty() and not as_json:
        from orchestrator.api.watching import Watcher

        follow_on_screen(Watcher(run).look, lambda: time.sleep(every))
    else:
        follow_as_lines(run.status, lambda: time.sleep(every), as_json=as_json)


def stop(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    as_json: JsonOption = False,
    cluster: ClusterOption = None,
) -> None:
    """Stop a running study.

    From any terminal, as Ctrl-C in its own would; nothing is lost. One that waits with --queue waits no
    longer.
    """
    if cluster is not None:
        oncluster.verb(cluster, ["stop", STUDY, *(["--json"] if as_json else [])], study, given(storage))
    if study is not None and (waited := _wait_no_longer(study, storage)):
        name, root, who = waited
        if as_json:
            console.data_json({"study": name, "root": root, "asked": who})
        else:
            console.progress(f"{root}: told {who} not to wait any longer; nothing had begun")
        return
    recorded = open_study(study, storage)
    driver = recorded.stop()
    if as_json:
        console.data_json({"study": recorded.name, "root": recorded.root, "asked": driver})
    elif driver is None:
        console.progress(f"{recorded.root}: nobody runs it now, nothing to stop")
    else:
        console.progress(f"{recorded.root}: asked {driver} to stop; `orchestrate watch` shows when it has")


def _wait_no_longer(study: str, storage: str) -> tuple[str, str, str] | None:
    """Cancel those that wait in the queue to run a study; returns its name, its directory, and who waited."""
    from orchestrator.engine.sharing import StudyQueue

    queue = StudyQueue.here()
    if not queue.waiting():
        return None
    for root in places_of(study, storage):
        found = queue.cancel(root)
        if found:
            return found[0].study, root, ", ".join(f"process {one.pid}" for one in found)
    return None


def arms_table(found: StudyStanding, curves: Mapping[str, str] | None = None) -> Table:
    """Arms × seeds as glyphs, phase by phase, with the mean of the finished values of the last one.

    `curves`: a line for arms, as a last column.
    """
    names, rows = headings(found), arm_rows(found)
    right = range(len(names) - 3, len(names))
    if curves:
        names, rows = (*names, CURVES), [(*row, curves.get(row[0], "")) for row in rows]
    drawn = console.table(names, rows, right)
    if curves:
        drawn.columns[-1].no_wrap = True
    drawn.caption, drawn.caption_justify = plain.legend(found.counts()), "left"
    return drawn


def follow_as_lines(
    look: Callable[[], StudyStanding], wait: Callable[[], None], *, as_json: bool = False
) -> None:
    """Print a line whenever something has changed: for pipes and logs, `as_json` for programs."""
    shown: object = None
    while True:
        found = look()
        now = found.to_json() if as_json else headline(found)
        if now != shown:
            shown = now
            if as_json:
                console.json_line(now)
            else:
                console.data(headline(found))
            sys.stdout.flush()
        if found.driver is None or console.unheard():
            return
        wait()


def follow_on_screen(look: Callable[[], Watched], wait: Callable[[], None]) -> None:
    """Print the whole status, redrawn in place."""
    from rich.live import Live

    with Live(console=console.screen(), auto_refresh=False) as live:
        while True:
            seen = look()
            live.update(draw(seen, *live.console.size), refresh=True)
            if seen.standing.driver is None:
                return
            wait()


def draw(seen: Watched, width: int, height: int) -> Group:
    """Return what `watch` shows on a terminal of this size, in characters."""
    from rich.console import Group
    from rich.text import Text

    from orchestrator.reporting.sketch import forest, sparklines

    found = seen.standing
    curves = sparklines(seen.curves, found.max_length) if width >= LEAST_FOR_CURVES else {}
    effects = (
        [] if seen.report is None else forest(seen.report, width, height - len(found.arms) - LINES_AROUND)
    )
    lines = [Text(line) for line in explanations(found)]
    return Group(Text(headline(found)), arms_table(found, curves), *effects, *lines)
