"""`orchestrate retry`: one trial again."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from orchestrator.api.recorded import open_study
from orchestrator.cli import completion, console
from orchestrator.cli.ablate import NO_QUEUE, AcceptFlag, QueueFlag, turn_of
from orchestrator.cli.options import (
    AddressOption,
    ArmArgument,
    JsonOption,
    SampleOption,
    SeedArgument,
    StorageOption,
)
from orchestrator.decide.states import TrialState
from orchestrator.errors import ExitCode, InputError
from orchestrator.reporting.standing import CELL_IN_JSON, picked


def command(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A run directory, a study's name, or its study file.",
            autocompletion=completion.studies,
        ),
    ],
    arm: ArmArgument,
    seed: SeedArgument,
    sample: SampleOption = None,
    storage: StorageOption = "runs",
    address: AddressOption = None,
    accept_code_change: AcceptFlag = False,
    queue: QueueFlag = False,
    as_json: JsonOption = False,
) -> None:
    """Run one trial again, and nothing else.

    Of a study on disk, with its settings, from the directory where it was started. A trial that failed goes
    on from its last checkpoint, also with mended code; one that has its answer begins anew, also where its
    directory was deleted (one that is there is kept under another name).
    """
    from orchestrator.api.study import Study

    if queue and address:
        raise InputError(NO_QUEUE)
    recorded = open_study(study, storage)
    cell = recorded.trial(arm, seed, sample)
    of_disk = Study.recorded_in(recorded)
    with turn_of(of_disk) if queue else nullcontext():
        result = of_disk.retry(
            arm, seed, sample=sample, address=address, accept_code_change=accept_code_change
        )
    record = result.status()
    (now,) = [one for one in record.cells if one.cell == cell.cell]
    left = sum(one.state in (TrialState.PENDING, TrialState.CANCELLED) for one in record.cells)
    if as_json:
        told = {
            **picked(now, CELL_IN_JSON),
            "study": record.study,
            "left": left,
            "exit_code": result.exit_code,
        }
        console.data_json(told)
    else:
        more = f"; {left} other trials are left for `orchestrate ablate`" if left else ""
        value = "" if now.value is None else f", {record.metric} {now.value:g}"
        console.data(f"{now.name}: {now.state}{value}, attempt {now.attempts}{more}")
    if result.exit_code is not ExitCode.DONE:
        console.progress(f"why:     orchestrate logs {arm} {seed} --study {study}")
        raise typer.Exit(int(result.exit_code))
