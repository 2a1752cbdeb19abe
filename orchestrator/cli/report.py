"""`orchestrate report`: the effects of a study as far as it got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.options import JsonOption, StorageOption, StudyArgument
from orchestrator.cli.runs import Run, find_run

if TYPE_CHECKING:
    from orchestrator.report.model import StudyReport


def command(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Also write report.md, effects.json and results.* into the study.")
    ] = False,
) -> None:
    """Print the report of a study.

    Read from the directory: nothing needs to run, and the study may be unfinished.
    """
    run = find_run(study, storage)
    built = build(run)
    if write:
        save(run, built)
    if as_json:
        from orchestrator.report.effects_json import to_json

        console.data_json(to_json(built))
    elif markdown:
        from orchestrator.report.markdown import to_markdown

        console.data(to_markdown(built).rstrip("\n"))
    else:
        show(built)


def build(run: Run) -> StudyReport:
    """Compute the report from what is recorded now. Raises `StudyError` when the record is damaged."""
    from orchestrator.report.build import build_report
    from orchestrator.study.spec import StudySpec

    view = run.view()
    return build_report(run.storage, run.paths, StudySpec.model_validate(view.spec), view.plan, view.history)


def save(run: Run, built: StudyReport) -> None:
    """Write the report and the results into the study's directory, each file atomically."""
    from orchestrator.record.results import results_table, write_results
    from orchestrator.report.effects_json import write_report
    from orchestrator.study.spec import StudySpec

    view = run.view()
    write_results(
        run.storage, run.paths, results_table(StudySpec.model_validate(view.spec), view.history, run.paths)
    )
    write_report(run.storage, run.paths, built)


def show(built: StudyReport) -> None:
    """The report on stdout."""
    from orchestrator.report.terminal import render

    console.show(render(built))
