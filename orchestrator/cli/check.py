"""`orchestrate check`: is the recipe sound, before a study spends anything on it?"""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.gates import DEFAULT_OUT, OutOption
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments


def command(
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
    from orchestrator.api.study import Study
    from orchestrator.cli.gates import ask

    ask(Study.from_file(config, *(overrides or ())), "check", out, only=gate or (), as_json=as_json)
