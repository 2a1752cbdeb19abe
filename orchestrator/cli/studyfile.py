"""`orchestrate validate`, `schema`: is this study file in order, and what may be in one?"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments, study_of


class What(StrEnum):
    """Formats that have a schema."""

    STUDY = "study"
    OUTPUT = "output"


def validate(config: ConfigOption, overrides: OverrideArguments = None, as_json: JsonOption = False) -> None:
    """Check a study file.

    Its arms, its entrypoint and its storage too. Starts nothing, writes nothing.
    """
    from orchestrator.api import describe

    study = study_of(config, overrides)
    spec, plan = study.spec, study.plan
    if as_json:
        console.data_json(
            {
                "valid": True,
                "study": plan.study,
                "hash": plan.hash,
                "arms": len(plan.arms),
                "seeds": len(spec.seeds),
                "cells": len(plan.cells),
                "entrypoint": {
                    "name": str(spec.entrypoint),
                    "file": str(study.entrypoint.file),
                    **describe.command(spec, plan),
                },
                "notify": describe.notified(spec).get("notify"),
            }
        )
        return
    console.data(f"{config}: valid; {describe.size(spec, plan)} with {spec.entrypoint}")
    for name, line in (describe.command(spec, plan) | describe.notified(spec)).items():
        console.data(f"{name + ':':<10}{line}")


def schema(
    what: Annotated[
        What, typer.Argument(metavar="WHAT", help="study: study files; output: what verbs print with --json.")
    ] = What.STUDY,
) -> None:
    """Print the JSON schema of study files, or of what verbs print."""
    if what is What.OUTPUT:
        from orchestrator.cli.schemas import output_schema

        console.data_json(output_schema())
        return
    from orchestrator.study.validation import json_schema

    console.data_json(json_schema())
