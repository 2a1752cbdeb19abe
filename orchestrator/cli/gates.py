"""`orchestrate check`, `lr-find` and `profile`: gates that look at the user's code, before a study.

The code runs in a process of its own, without Ray. Lines are printed as gates answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments, study_of
from orchestrator.errors import ExitCode, Fault, InputError

if TYPE_CHECKING:
    from orchestrator.api.checking import Job
    from orchestrator.api.study import Study
    from orchestrator.training.gates.results import ArmToCheck, CheckReport, CheckRequest, GateResult

OutOption = Annotated[
    Path,
    typer.Option("--out", metavar="FOLDER", help="Where the page goes, in a folder of the study's name."),
]
DEFAULT_OUT = Path("checks")
IN_THE_TERMINAL = {"check": ("A12",), "lr-find": (), "profile": ("P1", "P2", "P3")}
"""Whose tables are shown there too; all of them are on the page."""


def check(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", metavar="NUMBER", help="Only this gate, such as A6; may be given again."),
    ] = None,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe: data, model, gradients, speed, repeatability, and what every arm does.

    A ladder of gates, each with its evidence and, where it fails, the likely causes; also as a page and in
    TensorBoard. The code runs in a process of its own, without Ray. Exit code 1 when a gate fails.
    """
    ask(study_of(config, overrides), "check", out, only=gate or (), as_json=as_json)


def lr_find(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
) -> None:
    """Find a learning rate: train the baseline while the rate grows, and see where the loss falls fastest.

    The curve is on the page; the suggestion is for the optimizer of the config, at its batch size.
    """
    ask(study_of(config, overrides), "lr-find", out, as_json=as_json)


def profile(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    arm: Annotated[
        str | None,
        typer.Option("--arm", metavar="ARM", help="As `plan` names it; default: the reference arm."),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Also write a trace of the steps, for Perfetto or Chrome.")
    ] = False,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
) -> None:
    """Profile a training step: parameters, FLOPs and memory per layer, and where the time goes.

    Names the bottleneck. The code runs in a process of its own, without Ray.
    """
    from orchestrator.api.checking import request_of

    study = study_of(config, overrides)
    request = request_of(study)
    place = str((out / study.spec.name / "trace.json").resolve()) if trace else None
    request = replace(request, arms=(_chosen(request.arms, arm),), trace=place)
    ask(study, "profile", out, request=request, as_json=as_json)


def _chosen(arms: tuple[ArmToCheck, ...], name: str | None) -> ArmToCheck:
    """Return the arm of that name; the reference arm without one. Raises InputError when there is none."""
    from orchestrator.study.faults import nearest

    by_name = {arm.name: arm for arm in arms}
    if name is None:
        return arms[0]
    if name not in by_name:
        hint = nearest(name, by_name)
        raise InputError(Fault("the study has no such arm", field="--arm", value=name, hint=hint))
    return by_name[name]


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
    for found in (table for gate in report.gates if gate.gate in gates for table in gate.verdict.tables):
        numbers = {number for number, column in enumerate(found.columns) if number and column not in _WORDS}
        drawn = console.table(found.columns, found.rows, numbers, title=found.title)
        drawn.title_justify, drawn.header_style = "left", "dim"
        console.data("")
        console.show(drawn)


def _close(report: CheckReport, place: str | None, *, count: bool) -> None:
    if count and len(report.gates) > 1:
        said = []
        for state, word in (("pass", "passed"), ("fail", "failed"), ("skipped", "skipped")):
            gates = [gate.gate for gate in report.gates if gate.state == state]
            named = f" ({', '.join(gates)})" if state != "pass" and 0 < len(gates) <= 4 else ""
            said.append(f"{len(gates)} {word}{named}")
        console.data(f"\n{', '.join(said)}; {report.wall_s:.0f} s")
    missing = "the page is not written: jinja2 not installed (pip install 'orchestrator[report]')"
    console.progress(place or missing)
