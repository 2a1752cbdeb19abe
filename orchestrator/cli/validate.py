"""`orchestrate validate`: is this study file in order?"""

from __future__ import annotations

from orchestrator.cli import console, describe
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments
from orchestrator.cli.studyfile import prepare


def command(config: ConfigOption, overrides: OverrideArguments = None, as_json: JsonOption = False) -> None:
    """Check a study file.

    Its arms, its entrypoint and its storage too. Starts nothing, writes nothing.
    """
    study = prepare(config, overrides)
    spec, plan = study.loaded.spec, study.plan
    if as_json:
        console.data_json(
            {
                "valid": True,
                "study": plan.study,
                "hash": plan.hash,
                "arms": len(plan.arms),
                "seeds": len(spec.seeds),
                "cells": len(plan.cells),
                "entrypoint": {"name": spec.entrypoint, "file": str(study.entrypoint.file)},
            }
        )
        return
    console.data(f"{config}: valid; {describe.size(spec, plan)} with {spec.entrypoint}")
