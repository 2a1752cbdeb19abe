"""What `check`, `lr-find` and `profile` share: the request, the lines as gates answer, and the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.api.checking import Job
    from orchestrator.api.study import Study
    from orchestrator.training.gates.results import CheckReport, CheckRequest, GateResult

OutOption = Annotated[
    Path,
    typer.Option("--out", metavar="FOLDER", help="Where the page goes, in a folder of the study's name."),
]
DEFAULT_OUT = Path("checks")
IN_THE_TERMINAL = {"check": ("A12",), "lr-find": (), "profile": ("P1", "P2", "P3")}
"""Whose tables are shown there too; all of them are on the page."""


def ask(
    study: Study,
    job: Job,
    out: Path,
    *,
    only: Sequence[str] = (),
    request: CheckRequest | None = None,
    as_json: bool,
) -> CheckReport:
    """Run the gates of a job (of a check, `only` these), show each as it answers, write page and data.

    `request`: what to ask, where it is not about all arms.

    Raises:
        InputError: there is no such gate, or `out` cannot be written.
        StudyError: the entrypoint does not import.
        typer.Exit: a gate failed (1); everything has been shown and written.
    """
    from orchestrator.api.checking import climb, folder_for, request_of, write

    request = request or request_of(study, only)
    folder = folder_for(study, out)
    waiting: list[GateResult] = []

    def tell(gate: GateResult) -> None:
        if waiting and gate.verdict != waiting[-1].verdict:
            show(waiting, as_json=as_json)
            waiting.clear()
        waiting.append(gate)
        if gate.state != "skipped":  # which may be the first of many for the same reason
            show(waiting, as_json=as_json)
            waiting.clear()

    report = climb(study, job, request, tell)
    show(waiting, as_json=as_json)
    place = write(report, folder, job)
    if as_json:
        console.data_json({"page": place, **report.to_json()})
    else:
        _show_tables(report, IN_THE_TERMINAL[job])
        _close(report, place, count=job == "check")
    if not report.passed:
        raise typer.Exit(int(ExitCode.FAILED))
    return report


def show(alike: list[GateResult], *, as_json: bool) -> None:
    """Print a line on stdout, and indented what goes with it; gates that were skipped alike share one."""
    if as_json or not alike:
        return
    gate, verdict = alike[0], alike[0].verdict
    if len(alike) > 1:
        console.data(f"{gate.state:<8} {gate.gate} to {alike[-1].gate}: {verdict.evidence}")
        return
    console.data(f"{gate.state:<8} {gate.gate:<4} {gate.title:<23} {verdict.evidence}  [{gate.wall_s:.1f} s]")
    for warning in verdict.warnings:
        console.data(f"{'':14}warning: {warning}")
    for cause in verdict.causes:
        console.data(f"{'':14}look at: {cause}")


_WORDS = ("changes", "layers")
"""Columns without numbers."""


def _show_tables(report: CheckReport, gates: tuple[str, ...]) -> None:
    """Print the tables of these gates, below each other."""
    from rich.table import Table

    for found in (table for gate in report.gates if gate.gate in gates for table in gate.verdict.tables):
        drawn = Table(title=found.title, title_justify="left", box=None, pad_edge=False, header_style="dim")
        for number, column in enumerate(found.columns):
            words = number == 0 or column in _WORDS
            drawn.add_column(column, justify="left" if words else "right")
        for row in found.rows:
            drawn.add_row(*row)
        console.data("")
        console.show(drawn)


def _close(report: CheckReport, place: str | None, *, count: bool) -> None:
    if count and len(report.gates) > 1:
        by_state = {
            state: [gate.gate for gate in report.gates if gate.state == state]
            for state in ("pass", "fail", "skipped")
        }
        said = [
            f"{len(by_state['pass'])} passed",
            f"{len(by_state['fail'])} failed{_named(by_state['fail'])}",
            f"{len(by_state['skipped'])} skipped{_named(by_state['skipped'])}",
        ]
        console.data(f"\n{', '.join(said)}; {report.wall_s:.0f} s")
    missing = "the page is not written: jinja2 not installed (pip install 'orchestrator[report]')"
    console.progress(place or missing)


def _named(gates: list[str]) -> str:
    return f" ({', '.join(gates)})" if 0 < len(gates) <= 4 else ""
