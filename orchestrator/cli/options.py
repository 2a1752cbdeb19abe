"""Options and arguments that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import completion
from orchestrator.errors import Fault, InputError

if TYPE_CHECKING:
    from orchestrator.api.study import Study

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
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
LatexOption = Annotated[bool, typer.Option("--latex", help="Print a LaTeX table (booktabs, siunitx).")]
SlimOption = Annotated[
    bool, typer.Option("--slim", help="With --latex: as narrow as a column of a two-column paper.")
]
StudyArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A run directory, a study's name, or its study file; default: the only study below --storage.",
        show_default=False,
        autocompletion=completion.studies,
    ),
]
StorageOption = Annotated[
    str, typer.Option("--storage", metavar="WHERE", help="Where studies are kept: a path or a URI.")
]
SeedArgument = Annotated[
    int,
    typer.Argument(metavar="SEED", help="The seed of the trial.", autocompletion=completion.seeds),
]
SampleOption = Annotated[
    int | None, typer.Option(min=0, help="A sample of the search instead (the seed is its).")
]
ArmArgument = Annotated[
    str,
    typer.Argument(metavar="ARM", help="As `plan` and `status` name it.", autocompletion=completion.arms),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", help="A running Ray cluster; default: Ray on this machine."),
]


def one_form(forms: Mapping[str, bool], *, slim: bool, hint: str | None = None) -> str:
    """Return the form of the report that was asked for, empty for text; `hint` where it is more than one."""
    wanted = [name for name, is_set in forms.items() if is_set]
    if len(wanted) > 1:
        raise InputError(Fault("one form at a time", value=" ".join(wanted), hint=hint))
    if slim and wanted != ["--latex"]:
        raise InputError(Fault("is for LaTeX tables", field="--slim", hint="add --latex"))
    return "".join(wanted)


def study_of(config: Path, overrides: list[str] | None) -> Study:
    """Load and check the study that a verb is about."""
    from orchestrator.api.study import Study

    return Study.from_file(config, *(overrides or ()))
