"""`orchestrate analyse`: the table of effects of any table of results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import console
from orchestrator.cli.options import JsonOption, LatexOption, MarkdownOption, SlimOption, one_form
from orchestrator.errors import InputError
from orchestrator.study.visible import visible

if TYPE_CHECKING:
    from orchestrator.reporting.model import StudyReport


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV or Parquet, one row per run.", show_default=False)
    ],
    baseline: Annotated[str, typer.Option("--baseline", metavar="ARM", help="Compared with.")] = "baseline",
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="COLUMN", help="The values; default: the only column of numbers."),
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", metavar="max|min", help="Which values are better.")
    ] = None,
    arm: Annotated[str, typer.Option("--arm", metavar="COLUMN", help="Names of the arms.")] = "arm",
    seed: Annotated[str, typer.Option("--seed", metavar="COLUMN", help="Seeds of the runs.")] = "seed",
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Only these rows.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", help="Practically equal below this, in the metric's units.")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="Level over all arms.")] = 0.05,
    variance: Annotated[
        str, typer.Option("--variance", metavar="moderated|per_arm", help="per_arm: plain paired t-tests.")
    ] = "moderated",
    as_json: JsonOption = False,
    markdown: MarkdownOption = False,
    latex: LatexOption = False,
    slim: SlimOption = False,
) -> None:
    """Print the effects of a table of results, wherever they come from.

    Pairs, test, corrections and verdicts are those of the report of a study.
    """
    form = one_form({"--json": as_json, "--markdown": markdown, "--latex": latex}, slim=slim)
    options = {"metric": metric, "mode": mode, "arm": arm, "seed": seed, "margin": margin, "alpha": alpha}
    built = _built(file, where or [], {"baseline": baseline, "variance": variance, **options})
    if form == "--json":
        from orchestrator.reporting.analysed import to_json

        console.data_json(to_json(built))
    elif form == "--markdown":
        from orchestrator.reporting.markdown import effects_markdown

        console.document(visible(effects_markdown(built).rstrip("\n")))
    elif form == "--latex":
        from orchestrator.reporting.latex import to_latex

        console.document(visible(to_latex(built, slim=slim).rstrip("\n")))
    else:
        from orchestrator.reporting.terminal import render

        console.show(render(built))


def _built(file: Path, where: list[str], options: dict[str, Any]) -> StudyReport:
    from orchestrator.api.tablefile import read_table
    from orchestrator.reporting.analysed import report_of
    from orchestrator.stats.analysis import effects

    try:
        return report_of(effects(read_table(file, where), **options), file.name)
    except InputError as error:
        raise InputError([replace(fault, file=fault.file or str(file)) for fault in error.faults]) from None
