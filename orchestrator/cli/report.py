"""`orchestrate report`: the effects of a study as far as it got, or of two studies side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import ClusterOption, given
from orchestrator.cli.options import JsonOption, StorageOption, StudyArgument
from orchestrator.cli.runs import find_run
from orchestrator.errors import ExitCode, Fault, InputError
from orchestrator.record.run import Run

if TYPE_CHECKING:
    from orchestrator.report.model import StudyReport


def command(
    study: StudyArgument = None,
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="OTHER", help="A second study: their effects side by side.", show_default=False
        ),
    ] = None,
    storage: StorageOption = "runs",
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table (booktabs, siunitx).")] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Print the page, one file for offline reading.")
    ] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Also write every form and the results into the study's directory."),
    ] = False,
    cluster: ClusterOption = None,
) -> None:
    """Print the report of a study.

    Read from the directory: nothing needs to run. An unfinished study is shown as far as it got, with exit
    code 1. The same study twice: its fixed against its retuned settings.
    """
    forms = {"--json": as_json, "--markdown": markdown, "--latex": latex, "--html": html}
    wanted = [name for name, is_set in forms.items() if is_set]
    if len(wanted) > 1:
        raise InputError(
            Fault("one form at a time", value=" ".join(wanted), hint="--write writes all of them")
        )
    form = wanted[0] if wanted else ""
    if cluster is not None:
        oncluster.report(cluster, study, other, given(storage), wanted)
    run = find_run(study, storage)
    if other is not None:
        complete = _compare(run, find_run(other, storage), form, write=write)
    else:
        built = build(run, curves=write or form == "--html")
        if write:
            save(run, built)
        _show(built, form)
        complete = built.complete
    if not complete:
        raise typer.Exit(int(ExitCode.FAILED))


def _show(built: StudyReport, form: str) -> None:
    if form == "--json":
        from orchestrator.report.effects_json import to_json

        console.data_json(to_json(built))
    elif form == "--markdown":
        from orchestrator.report.markdown import to_markdown

        console.data(to_markdown(built).rstrip("\n"))
    elif form == "--latex":
        from orchestrator.report.latex import to_latex

        console.data(to_latex(built).rstrip("\n"))
    elif form == "--html":
        from orchestrator.report.page import to_html
        from orchestrator.report.write import missing_extra

        missing = missing_extra()
        if missing is not None:
            raise InputError(Fault("the page needs an extra", value="--html", hint=missing))
        console.data(to_html(built).rstrip("\n"))
    else:
        show(built)


def _compare(first: Run, second: Run, form: str, *, write: bool) -> bool:
    """Print both studies side by side; returns whether both are complete."""
    from orchestrator.report.compare import compare

    if write or form in ("--latex", "--html"):
        hint = "a comparison is printed as text, with --markdown or with --json"
        raise InputError(Fault("not for two studies", value="--write" if write else form, hint=hint))
    found = compare(build(first), build(second))
    if form == "--json":
        from orchestrator.report.effects_json import comparison_json

        console.data_json(comparison_json(found))
    elif form == "--markdown":
        from orchestrator.report.markdown import comparison_markdown

        console.data(comparison_markdown(found).rstrip("\n"))
    else:
        from orchestrator.report.terminal import render_comparison

        console.show(render_comparison(found))
    return found.first.complete and found.second.complete


def build(run: Run, *, curves: bool = False) -> StudyReport:
    """Compute the report from what is recorded now; `curves`: also from the metric tables of the trials.

    Raises `StudyError` when the record is damaged.
    """
    from orchestrator.report.build import build_report
    from orchestrator.report.curves import with_curves
    from orchestrator.study.spec import StudySpec

    view = run.view()
    spec = StudySpec.model_validate(view.spec)
    built = build_report(run.storage, run.paths, spec, view.plan, view.state)
    return with_curves(built, run.storage, run.paths, spec) if curves else built


def save(run: Run, built: StudyReport) -> None:
    """Write every form of the report and the results into the study's directory, each file atomically."""
    from orchestrator.record.results import results_table, write_results
    from orchestrator.report.write import write_report
    from orchestrator.study.spec import StudySpec

    view = run.view()
    table = results_table(StudySpec.model_validate(view.spec), view.state)
    write_results(run.storage, run.paths, table)
    missing = write_report(run.storage, run.paths, built)
    if missing is not None:
        console.progress(missing)


def show(built: StudyReport) -> None:
    """The report on stdout."""
    from orchestrator.report.terminal import render

    console.show(render(built))
