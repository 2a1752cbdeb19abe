"""`orchestrate status`: where a study stands, and why each trial that ended early did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.api.recorded import open_study
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import STUDY, ClusterOption, given
from orchestrator.cli.options import JsonOption, StorageOption, StudyArgument
from orchestrator.report import plain
from orchestrator.report.standing import StudyStanding
from orchestrator.report.standingwords import arm_rows, explanations, headings, headline

if TYPE_CHECKING:
    from rich.table import Table


def command(
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
    found = open_study(study, storage).status()
    if as_json:
        console.data_json(found.to_json())
        return
    console.show(headline(found), arms_table(found), *explanations(found))


def arms_table(found: StudyStanding) -> Table:
    """Arms × seeds as glyphs, phase by phase, with the mean of the finished values of the last one."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    names = headings(found)
    for number, name in enumerate(names):
        numeric = number >= len(names) - 3
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in arm_rows(found):
        table.add_row(*row)
    table.caption = plain.legend(found.counts())
    table.caption_justify = "left"
    return table
