"""`orchestrate report`: the effects of a study as far as it got, or of two studies side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.api.recorded import OpenedStudy, open_study
from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import ClusterOption, given
from orchestrator.cli.options import (
    JsonOption,
    LatexOption,
    MarkdownOption,
    SlimOption,
    StorageOption,
    StudyArgument,
    one_form,
)
from orchestrator.errors import ExitCode, Fault, InputError
from orchestrator.study.visible import visible

if TYPE_CHECKING:
    from orchestrator.reporting.model import StudyReport


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
    markdown: MarkdownOption = False,
    latex: LatexOption = False,
    slim: SlimOption = False,
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
    form = one_form(forms, slim=slim, hint="--write writes all of them")
    if cluster is not None:
        words = [*([form] if form else []), *(["--slim"] if slim else [])]
        oncluster.report(cluster, study, other, given(storage), words)
    run = open_study(study, storage)
    if other is not None:
        complete = _compare(run, open_study(other, storage), form, write=write)
    else:
        built = run.report(curves=write or form == "--html", write=write)
        if write:
            say_what_is_missing()
        _show(built, form, slim=slim)
        complete = built.complete
    if not complete:
        raise typer.Exit(int(ExitCode.FAILED))


def _show(built: StudyReport, form: str, *, slim: bool = False) -> None:
    if form == "--json":
        from orchestrator.reporting.effects_json import to_json

        console.data_json(to_json(built))
    elif form:
        console.document(visible(_written(built, form, slim=slim).rstrip("\n")))
    else:
        show(built)


def _written(built: StudyReport, form: str, *, slim: bool) -> str:
    if form == "--markdown":
        from orchestrator.reporting.markdown import to_markdown

        return to_markdown(built)
    if form == "--latex":
        from orchestrator.reporting.latex import to_latex

        return to_latex(built, slim=slim)
    from orchestrator.reporting.page import to_html
    from orchestrator.reporting.write import missing_extra

    if missing := missing_extra():
        raise InputError(Fault("the page needs an extra", value="--html", hint=missing))
    return to_html(built)


def _compare(first: OpenedStudy, second: OpenedStudy, form: str, *, write: bool) -> bool:
    """Print both studies side by side; returns whether both are complete."""
    if write or form in ("--latex", "--html"):
        hint = "a comparison is printed as text, with --markdown or with --json"
        raise InputError(Fault("not for two studies", value="--write" if write else form, hint=hint))
    found = first.compare(second)
    if form == "--json":
        from orchestrator.reporting.effects_json import comparison_json

        console.data_json(comparison_json(found))
    elif form == "--markdown":
        from orchestrator.reporting.markdown import comparison_markdown

        console.document(visible(comparison_markdown(found).rstrip("\n")))
    else:
        from orchestrator.reporting.terminal import render_comparison

        console.show(render_comparison(found))
    return found.first.complete and found.second.complete


def say_what_is_missing() -> None:
    """Print the forms of the report that were not written, for want of an extra."""
    from orchestrator.reporting.write import missing_extra

    missing = missing_extra()
    if missing is not None:
        console.progress(missing)


def show(built: StudyReport) -> None:
    """Print the report on stdout."""
    from orchestrator.reporting.terminal import render

    console.show(render(built))
