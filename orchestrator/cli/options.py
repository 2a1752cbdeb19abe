"""Options and arguments that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", help="The study file.", show_default=False),
]
OverrideArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Single settings with their full dotted path: baseline.optim.lr=3e-4 stopping.max=5 seeds=3.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON document for programs.")]
StudyArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A run directory, a study's name, or its study file; default: the only study below --storage.",
        show_default=False,
    ),
]
StorageOption = Annotated[
    str, typer.Option("--storage", metavar="WHERE", help="Where studies are kept: a path or a URI.")
]
ArmArgument = Annotated[str, typer.Argument(metavar="ARM", help="As `plan` and `status` name it.")]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", help="A running Ray cluster; default: Ray on this machine."),
]
