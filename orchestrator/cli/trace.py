"""`orchestrate trace`: when what happened in a study, for Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.api.recorded import open_study
from orchestrator.cli import console
from orchestrator.cli.options import StorageOption, StudyArgument


def command(
    study: StudyArgument = None,
    storage: StorageOption = "runs",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Default: trace.json.gz in the study's directory."),
    ] = None,
) -> None:
    """Draw when what happened in a study, as a trace.

    Trials on their lanes, of every study; with what `ablate --trace` has kept, what driver and workers did,
    too. https://ui.perfetto.dev and chrome://tracing open it.
    """
    console.data(open_study(study, storage).trace_file(out))
