"""`orchestrate ablate`: run what is left of a study, then print its report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import ClusterOption
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments
from orchestrator.cli.studyfile import PreparedStudy, prepare
from orchestrator.errors import ExitCode, Fault, InputError

if TYPE_CHECKING:
    from orchestrator.engine.api import RunOptions, StudyOutcome
    from orchestrator.report.model import StudyReport


def command(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="ADDRESS", help="A running Ray cluster; default: Ray on this machine."
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew; the old directory is renamed, never deleted.")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Accept more arms, alternatives and seeds.")
    ] = False,
    accept_code_change: Annotated[
        bool, typer.Option("--accept-code-change", help="Go on with changed code; later cells are marked.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run again what failed by its own fault, too.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not ask the cheap gates of `check` before a new study.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its cost; start nothing.")
    ] = False,
    as_json: JsonOption = False,
    cluster: ClusterOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="With --cluster: start it there and come back at once.")
    ] = False,
) -> None:
    """Run a study, or what is left of it.

    The same command again finishes the missing cells and nothing else. A new study is checked while Ray
    starts, and refused when the check finds a fault. The first Ctrl-C stops cleanly, the second at once.
    With --cluster the study runs there, Ctrl-C leaves it alone, and the same command again follows it.
    """
    if cluster is not None or detach:
        flags = {
            "--fresh": fresh,
            "--extend": extend,
            "--accept-code-change": accept_code_change,
            "--retry-failed": retry_failed,
            "--no-check": no_check,
        }
        oncluster.ablate(
            config,
            overrides or (),
            _cluster_of(cluster, address),
            flags=[flag for flag, wanted in flags.items() if wanted],
            detach=detach,
            as_json=as_json,
            dry_run=dry_run,
        )
        return
    study = prepare(config, overrides)
    if dry_run:
        from orchestrator.cli.plan import forecast, show

        show(forecast(study, retry_failed=retry_failed, fresh=fresh), as_json=as_json)
        return
    from orchestrator.cli.gates import request_of
    from orchestrator.engine.api import RunOptions

    asked = request_of(study)
    options = RunOptions(address, fresh, extend, accept_code_change, retry_failed, asked, no_check)
    _here(study, options, config, overrides, as_json=as_json)


def _here(
    study: PreparedStudy, options: RunOptions, config: Path, overrides: list[str] | None, *, as_json: bool
) -> None:
    """Run the study in this process, and say what came of it."""
    outcome = _run(study, options)
    built = _report(study)
    if as_json:
        console.data_json(document(study, outcome, built))
    else:
        from orchestrator.cli.report import show as show_report

        show_report(built)
    for line in next_steps(study, outcome, config, overrides):
        console.progress(line)
    if outcome.exit_code is not ExitCode.DONE:
        raise typer.Exit(int(outcome.exit_code))


def _cluster_of(cluster: Path | None, address: str | None) -> Path:
    if cluster is None:
        hint = "without a cluster the study runs in this process: name one with --cluster FILE"
        raise InputError(Fault("there is nothing to come back from", field="--detach", hint=hint))
    if address is not None:
        hint = "--cluster reaches a cluster through SSH, --address one whose network this machine is on"
        raise InputError(Fault("one of the two", field="--address", value=address, hint=hint))
    return cluster


def _run(study: PreparedStudy, options: RunOptions) -> StudyOutcome:
    from orchestrator.cli.live import display
    from orchestrator.engine.api import run_study

    with display() as listener:
        return run_study(study.loaded, options, listener)


def _report(study: PreparedStudy) -> StudyReport:
    """Computed from the record, not from what this process remembers; written beside it."""
    from orchestrator.cli.report import build, save
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.run import Run
    from orchestrator.record.storage import Storage

    run = Run(Storage.open(study.loaded.spec.storage), StudyPaths.of(study.plan.study))
    built = build(run, curves=True)
    save(run, built)
    return built


def document(study: PreparedStudy, outcome: StudyOutcome, built: StudyReport) -> dict[str, Any]:
    """`ablate --json`: how the run ended, and what `effects.json` says."""
    from orchestrator.report.effects_json import to_json

    return {
        "study": study.plan.study,
        "root": outcome.root,
        "exit_code": int(outcome.exit_code),
        "interrupted": outcome.interrupted,
        "counts": outcome.counts,
        "report": to_json(built),
    }


def next_steps(
    study: PreparedStudy, outcome: StudyOutcome, config: Path, overrides: list[str] | None
) -> list[str]:
    """What one would want to do now, as commands."""
    from orchestrator.report.write import missing_extra

    where = f"{study.loaded.spec.storage.rstrip('/')}/{study.plan.study}"
    again = " ".join(["orchestrate ablate --config", str(config), *(overrides or ())])
    on_cluster = os.environ.get("ORCHESTRATE_CLUSTER_FILE")  # set for a job that a laptop has started
    there = f" --cluster {on_cluster}" if on_cluster else ""
    again += there
    page = "report.html" if missing_extra() is None else "report.md"
    lines = [f"report:  {where}/{page}", f"curves:  orchestrate tensorboard {where}"]
    if outcome.exit_code is ExitCode.BUDGET:
        lines.append(f"budget reached; raise it and go on: {again} budget.wall=...")
    elif outcome.interrupted:
        lines.append(f"go on:   {again}")
    elif outcome.exit_code is not ExitCode.DONE:
        lines.append(
            f"why:     orchestrate status {where}{there}; orchestrate logs ARM SEED --study {where}{there}"
        )
        lines.append(f"again:   {again} --retry-failed")
    return lines
