"""`orchestrate ablate`: run what is left of a study, then print its report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import console, oncluster
from orchestrator.cli.oncluster import ClusterOption
from orchestrator.cli.options import AddressOption, ConfigOption, JsonOption, OverrideArguments, study_of
from orchestrator.errors import ExitCode, Fault, InputError

if TYPE_CHECKING:
    from orchestrator.api.recorded import StudyResult
    from orchestrator.api.study import Study
    from orchestrator.record.spans import SpanFile
    from orchestrator.reporting.model import StudyReport


FreshFlag = Annotated[
    bool, typer.Option("--fresh", help="Start anew; the old directory is renamed, never deleted.")
]
ExtendFlag = Annotated[bool, typer.Option("--extend", help="Accept more arms, alternatives and seeds.")]
AcceptFlag = Annotated[
    bool, typer.Option("--accept-code-change", help="Go on with changed code; later cells are marked.")
]
RetryFlag = Annotated[
    bool, typer.Option("--retry-failed", help="Run again what failed by its own fault, too.")
]
NoCheckFlag = Annotated[
    bool,
    typer.Option("--no-check", help="Ask no gates of `check`, and let no trial wait for the first reports."),
]
TraceFlag = Annotated[
    bool,
    typer.Option("--trace", help="Also write what driver and workers do, and for how long, for Perfetto."),
]
DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; start nothing.")]
QueueFlag = Annotated[
    bool,
    typer.Option("--queue", help="First wait until the studies that are on this machine now have ended."),
]
DetachFlag = Annotated[
    bool, typer.Option("--detach", help="With --cluster: start it there and come back at once.")
]

NO_QUEUE = Fault(
    "is for studies on this machine",
    field="--queue",
    hint="on a cluster studies share by resources.priority, and none has to wait",
)


def command(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    address: AddressOption = None,
    fresh: FreshFlag = False,
    extend: ExtendFlag = False,
    accept_code_change: AcceptFlag = False,
    retry_failed: RetryFlag = False,
    no_check: NoCheckFlag = False,
    trace: TraceFlag = False,
    queue: QueueFlag = False,
    dry_run: DryRunFlag = False,
    as_json: JsonOption = False,
    cluster: ClusterOption = None,
    detach: DetachFlag = False,
) -> None:
    """Run a study, or what is left of it.

    The same command again finishes the missing cells and nothing else. A new study is checked while Ray
    starts, and refused when the check finds a fault. The first Ctrl-C stops cleanly, the second at once.
    With --cluster the study runs there, Ctrl-C leaves it alone, and the same command again follows it.
    """
    asked = {"fresh": fresh, "extend": extend}
    asked |= {"accept_code_change": accept_code_change, "retry_failed": retry_failed}
    if queue and (cluster or address):
        raise InputError(NO_QUEUE)
    if cluster is not None or detach:
        on = [name for name, is_on in {**asked, "no_check": no_check, "trace": trace}.items() if is_on]
        oncluster.ablate(
            config,
            overrides or (),
            _cluster_of(cluster, address),
            flags=[f"--{name.replace('_', '-')}" for name in on],
            detach=detach,
            as_json=as_json,
            dry_run=dry_run,
        )
        return
    spans = traced() if trace else None
    with nullcontext() if spans is None else spans.span("read and plan the study"):
        study = study_of(config, overrides)
    if dry_run:
        from orchestrator.api.forecasting import refuse_changes
        from orchestrator.cli.plan import show

        forecast = study.forecast(retry_failed=retry_failed, fresh=fresh)
        if not as_json:  # a program gets one document: the plan, or why it would be refused
            show(forecast, as_json=False)
        refuse_changes(study, **asked)
        if as_json:
            show(forecast, as_json=True)
        return
    refuse_elsewhere(study, overrides or ())
    with turn_of(study) if queue else nullcontext():
        result = _run(study, address, check=not no_check, trace=spans or False, **asked)
    _show(result, as_json=as_json)
    console.progress("\n".join(next_steps(study, result, config, overrides)))
    if result.exit_code is not ExitCode.DONE:
        raise typer.Exit(int(result.exit_code))


@contextmanager
def turn_of(study: Study) -> Iterator[None]:
    """Wait in the queue of this machine, and keep the place in the block; exits when it was cancelled."""
    from orchestrator.engine.sharing import StudyQueue

    root = study.storage.path(study.paths.root)
    with StudyQueue.here().turn(study.name, root, console.progress) as ours:
        if not ours:
            console.progress("cancelled while it waited: nothing has begun")
            raise typer.Exit(int(ExitCode.TERMINATED))
        yield


def traced() -> SpanFile:
    """Begin a trace; its first span is the start of this process."""
    from orchestrator.record.spans import SpanFile

    spans = SpanFile()
    spans.since_process_start("start the command")
    return spans


def _run(study: Study, address: str | None, **options: Any) -> StudyResult:
    try:
        return study.run(address, **options)
    except KeyboardInterrupt:  # before trials run, or once more while they leave
        console.progress("interrupted: nothing is lost, the same command resumes")
        raise


def refuse_elsewhere(study: Study, overrides: Sequence[str] = ()) -> None:
    """Refuse to begin a study anew that was begun from another directory: `storage` is relative to that.

    Raises InputError with the place, where it lies beside the study file or above, in the same project. Where
    the study file is not below this directory, it says where a new study goes.
    """
    where = Path(study.spec.storage)
    new = not study.storage.exists(study.paths.plan_json)
    said = any(word.partition("=")[0] == "storage" for word in overrides)
    if said or not new or where.is_absolute() or "://" in study.spec.storage or study.config is None:
        return
    here, file = Path.cwd(), study.source.resolve()
    for folder in file.parents:
        begun = folder / where / study.paths.root
        if folder != here and (begun / "plan.json").exists():
            hint = (
                f"go on there: cd {shlex.quote(str(folder))}, or storage={shlex.quote(str(folder / where))}; "
                f"begin another one here: storage={shlex.quote(study.spec.storage)}"
            )
            message = "this study was begun from another directory, and would begin anew here"
            raise InputError(Fault(message, field="storage", value=str(begun), hint=hint))
        if any((folder / mark).exists() for mark in (".git", "pyproject.toml")):
            break
    if here not in file.parents:
        console.progress(f"storage: {here / where} (below the current directory, not the study file's)")


def _show(result: StudyResult, *, as_json: bool) -> None:
    from orchestrator.cli.report import say_what_is_missing, show

    assert result.final is not None  # `run` writes it
    say_what_is_missing()
    if as_json:
        console.data_json(document(result, result.final))
    else:
        show(result.final)


def _cluster_of(cluster: Path | None, address: str | None) -> Path:
    if cluster is None:
        hint = "without a cluster the study runs in this process: name one with --cluster FILE"
        raise InputError(Fault("there is nothing to come back from", field="--detach", hint=hint))
    if address is not None:
        hint = "--cluster reaches a cluster through SSH, --address one whose network this machine is on"
        raise InputError(Fault("one of the two", field="--address", value=address, hint=hint))
    return cluster


def document(result: StudyResult, final: StudyReport) -> dict[str, Any]:
    """`ablate --json`: how the run ended, and what `effects.json` says."""
    from orchestrator.reporting.effects_json import to_json

    return {
        "study": result.name,
        "root": result.outcome.root,
        "exit_code": int(result.exit_code),
        "interrupted": result.interrupted,
        "counts": result.outcome.counts,
        "stopped_by": list(result.outcome.why),
        "report": to_json(final),
    }


def next_steps(study: Study, result: StudyResult, config: Path, overrides: list[str] | None) -> list[str]:
    """Return what one would want to do now, as commands."""
    from orchestrator.reporting.headline import headline
    from orchestrator.reporting.write import missing_extra

    where = f"{study.spec.storage.rstrip('/')}/{study.name}"
    again = shlex.join(["orchestrate", "ablate", "--config", str(config), *(overrides or ())])
    on_cluster = os.environ.get("ORCHESTRATE_CLUSTER_FILE")  # set for a job that a laptop has started
    there = f" --cluster {on_cluster}" if on_cluster else ""
    again += there
    page = "report.html" if missing_extra() is None else "report.md"
    said = headline(result.final) if result.final is not None else ""
    lines = [f"result:  {said}"] if said else []
    lines += [f"report:  {where}/{page}", f"curves:  orchestrate tensorboard {where}"]
    lines += [f"trace:   {result.trace}"] if result.trace else []
    if result.exit_code is ExitCode.BUDGET:
        lines.append(f"budget reached; raise it and go on: {again} budget.wall=...")
    elif result.interrupted:
        lines.append(f"stopped: nothing is lost, the same command resumes\ngo on:   {again}")
    elif result.outcome.why:
        lines += result.outcome.why
        lines.append(f"mend it: {again} --retry-failed")
        lines.append(f"or run the others all the same: {again} failures.stop_when=never")
    elif result.exit_code is not ExitCode.DONE:
        logs = f"orchestrate logs ARM SEED --study {where}{there}"
        lines.append(f"why:     orchestrate status {where}{there}; {logs}")
        lines.append(f"again:   {again} --retry-failed")
    return lines
