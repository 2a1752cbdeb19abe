"""What `check`, `lr-find` and `profile` share: the request, the lines as gates answer, and the files."""

from __future__ import annotations

import base64
import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli import console
from orchestrator.errors import ExitCode, Fault, InputError

if TYPE_CHECKING:
    from orchestrator.cli.studyfile import PreparedStudy
    from orchestrator.study.designs import Arm
    from orchestrator.study.spec import StudySpec
    from orchestrator.training.gates.results import ArmToCheck, CheckReport, CheckRequest, GateResult

OutOption = Annotated[
    Path,
    typer.Option("--out", metavar="FOLDER", help="Where the page goes, in a folder of the study's name."),
]
DEFAULT_OUT = Path("checks")
IN_THE_TERMINAL = {"check": ("A12",), "lr-find": (), "profile": ("P1", "P2", "P3")}
"""Whose tables are shown there too; all of them are on the page."""


def ask(
    study: PreparedStudy,
    job: Literal["check", "lr-find", "profile"],
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
    from orchestrator.engine.checkprocess import run_gates
    from orchestrator.training.gates.results import CheckReport

    request = request or request_of(study, only)
    spec = study.loaded.spec
    folder = out / spec.name
    _make(folder)
    start = time.perf_counter()
    gates: list[GateResult] = []
    waiting: list[GateResult] = []
    for gate in run_gates(request, job, threads=max(1, int(spec.resources.cpus_per_worker))):
        gates.append(gate)
        if waiting and gate.verdict != waiting[-1].verdict:
            show(waiting, as_json=as_json)
            waiting = []
        waiting.append(gate)
        if gate.state != "skipped":  # which may be the first of many for the same reason
            show(waiting, as_json=as_json)
            waiting = []
    show(waiting, as_json=as_json)
    report = CheckReport(spec.name, spec.entrypoint, tuple(gates), time.perf_counter() - start)
    place = write(report, folder, job)
    if as_json:
        console.data_json({"page": place, **report.to_json()})
    else:
        _show_tables(report, IN_THE_TERMINAL[job])
        _close(report, place, count=job == "check")
    if not report.passed:
        raise typer.Exit(int(ExitCode.FAILED))
    return report


def request_of(study: PreparedStudy, only: Sequence[str] = ()) -> CheckRequest:
    """The study's arms under its first seed."""
    from orchestrator.training.gates.results import GATE_NUMBERS, CheckRequest

    unknown = [number for number in only if number not in GATE_NUMBERS]
    if unknown:
        valid = f"valid: {', '.join(GATE_NUMBERS)}"
        raise InputError(
            [Fault("there is no such gate", field="--gate", value=n, hint=valid) for n in unknown]
        )
    spec = study.loaded.spec
    return CheckRequest(
        entrypoint=spec.entrypoint,
        root=str(study.entrypoint.root),
        seed=spec.seeds[0],
        metrics=(spec.metric.name, *spec.metric.also),
        arms=tuple(_arm(spec, arm) for arm in study.plan.arms),
        only=tuple(only),
        datamodule=spec.datamodule,
    )


def _arm(spec: StudySpec, arm: Arm) -> ArmToCheck:
    from orchestrator.training.gates.results import ArmToCheck

    names = arm.parts or ((arm.component,) if arm.component else ())
    after = [spec.components[name].acts_after for name in names]
    earliest = min((steps for steps in after if steps is not None), default=None)
    return ArmToCheck(arm.name, arm.config, arm.set, None if None in after else earliest)


def show(alike: list[GateResult], *, as_json: bool) -> None:
    """A line on stdout, and indented what goes with it; gates that were skipped alike share one."""
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


def write(report: CheckReport, folder: Path, job: str) -> str | None:
    """JSON, TensorBoard and the page; returns the page's path, None where its extra is missing."""
    from orchestrator.record.storage import Storage
    from orchestrator.record.tensorboard import EventFile

    (folder / f"{job}.json").write_text(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    storage, now = Storage.open(str(folder)), time.time()
    events = EventFile(storage, f"tensorboard/{job}", 0)
    for gate in report.gates:
        events.text(f"check/{gate.gate}", f"**{gate.state}**: {gate.verdict.evidence}", 0, now)
        for picture in gate.verdict.pictures:
            events.png(f"check/{gate.gate}", base64.b64decode(picture.png), 0, now)
    events.close()
    if importlib.util.find_spec("jinja2") is None:
        return None
    from orchestrator.report.checkpage import to_html

    page = folder / f"{job}.html"
    page.write_text(to_html(report, job), encoding="utf-8")
    return str(page)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            Fault(f"cannot be written: {error.strerror}", field="--out", value=str(folder))
        ) from None


_WORDS = ("changes", "layers")
"""Columns without numbers."""


def _show_tables(report: CheckReport, gates: tuple[str, ...]) -> None:
    """The tables of these gates, below each other."""
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
