"""`orchestrate profile`: what a training step costs, layer by layer and part by part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.gates import DEFAULT_OUT, OutOption
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments
from orchestrator.errors import Fault, InputError

if TYPE_CHECKING:
    from orchestrator.training.gates.results import ArmToCheck


def command(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    arm: Annotated[
        str | None,
        typer.Option("--arm", metavar="ARM", help="As `plan` names it; default: the reference arm."),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Also write a trace of the steps, for Perfetto or Chrome.")
    ] = False,
    out: OutOption = DEFAULT_OUT,
    as_json: JsonOption = False,
) -> None:
    """Profile a training step: parameters, FLOPs and memory per layer, and where the time goes.

    Names the bottleneck. The code runs in a process of its own, without Ray.
    """
    from orchestrator.api.checking import request_of
    from orchestrator.api.study import Study
    from orchestrator.cli.gates import ask

    study = Study.from_file(config, *(overrides or ()))
    request = request_of(study)
    place = out / study.spec.name / "trace.json"
    request = replace(
        request,
        arms=(_chosen(request.arms, arm),),
        trace=str(place.resolve()) if trace else None,
    )
    ask(study, "profile", out, request=request, as_json=as_json)


def _chosen(arms: tuple[ArmToCheck, ...], name: str | None) -> ArmToCheck:
    """Return the arm of that name; the reference arm without one. Raises InputError when there is none."""
    from orchestrator.study.faults import nearest

    by_name = {arm.name: arm for arm in arms}
    if name is None:
        return arms[0]
    if name not in by_name:
        hint = nearest(name, list(by_name))
        raise InputError(Fault("the study has no such arm", field="--arm", value=name, hint=hint))
    return by_name[name]
