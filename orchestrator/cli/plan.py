"""`orchestrate plan`: exactly what `ablate` would do, before anything starts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.api.recorded import open_study
from orchestrator.cli import console
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments, StorageOption, study_of
from orchestrator.errors import Fault, InputError

if TYPE_CHECKING:
    from orchestrator.api.forecasting import Forecast
    from orchestrator.simulate.planning import Noise, PowerForecast


def command(
    config: ConfigOption,
    overrides: OverrideArguments = None,
    sd: Annotated[
        float | None, typer.Option("--sd", help="SD of the metric between seeds: says what can be detected.")
    ] = None,
    rho: Annotated[
        float | None, typer.Option("--rho", help="With --sd: correlation of arms over a seed; default 0.")
    ] = None,
    earlier: Annotated[
        str | None, typer.Option("--from", metavar="STUDY", help="Take both from an earlier study.")
    ] = None,
    storage: StorageOption = "runs",
    pilot: Annotated[
        int | None, typer.Option("--pilot", min=2, help="Run the baseline alone under this many seeds first.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS", help="With --pilot: a running Ray cluster.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what `ablate` would run.

    Arms with their differences, cells, slots and, once trials have finished, the cost. With the noise between
    seeds (--sd, --from an earlier study, or --pilot) also what the study can detect. Only --pilot starts
    anything.
    """
    study = study_of(config, overrides)
    spec = study.spec
    if pilot is not None:
        for value, option in ((sd, "--sd"), (earlier, "--from")):
            if value is not None:
                hint = "give one of the two"
                raise InputError(Fault("not together with --pilot", field=option, hint=hint))
        from orchestrator.api.pilot import run_pilot

        earlier = run_pilot(study, pilot, address).root
    noise = given_noise(sd, rho, earlier, storage, spec.metric.claimed)
    found = study.forecast(earlier=None if earlier is None else open_study(earlier, storage))
    detects = None if noise is None else study.power(noise)
    show(found, as_json=as_json, detects=detects)


def document(found: Forecast, detects: PowerForecast | None = None) -> dict[str, Any]:
    """Return what `plan --json` prints.

    That is `plan.json` with `lanes`, `others` (studies on this machine), `looks`, `remaining`, `begins` (new,
    resume, extend, fresh, changed), `notify` (who is told, in words), `estimate` and `power`.
    """
    from orchestrator.api import describe

    plan = found.plan.to_json()
    return {
        **plan,
        "lanes": found.slots,
        "others": [asdict(tenant) for tenant in found.others],
        "looks": list(plan["registered"].get("looks", ())),
        "remaining": list(found.remaining),
        "begins": found.begins,
        "notify": describe.notified(found.spec).get("notify"),
        "estimate": asdict(found.estimate),
        "power": None if detects is None else asdict(detects),
    }


def show(found: Forecast, *, as_json: bool, detects: PowerForecast | None = None) -> None:
    """Print a forecast on stdout, with what the study can detect where that is known."""
    if as_json:
        console.data_json(document(found, detects))
        return
    from orchestrator.api import describe

    headings = "arm", f"difference from {found.plan.reference}", "why"
    console.show(console.table(headings, describe.differences(found.plan)), "")
    for name, line in describe.lines(found, detects).items():
        console.data(f"{name + ':':<10}{line}")


def given_noise(
    sd: float | None, rho: float | None, earlier: str | None, storage: str, metric: str
) -> Noise | None:
    """Return the noise that the options name; None where they name none.

    Raises:
        InputError: values that cannot be, options that exclude each other, a study that shows no noise or has
            another metric.
    """
    faults = []
    if sd is not None and not 0 < sd < float("inf"):
        faults.append(Fault("must be a number above 0", field="--sd", value=str(sd)))
    if rho is not None and not 0 <= rho < 1:
        faults.append(Fault("must be a correlation from 0 to below 1", field="--rho", value=str(rho)))
    if rho is not None and sd is None:
        faults.append(Fault("says nothing without --sd", field="--rho", hint="give --sd too"))
    if sd is not None and earlier is not None:
        faults.append(Fault("not together with --from", field="--sd", hint="give one of the two"))
    if faults:
        raise InputError(faults)
    if earlier is not None:
        return _recorded_noise(earlier, storage, metric)
    if sd is None:
        return None
    from orchestrator.simulate.planning import Noise

    return Noise(sd, rho or 0.0)


def _recorded_noise(study: str, storage: str, metric: str) -> Noise:
    """Return the noise between the seeds of an earlier study's arms."""
    recorded = open_study(study, storage)
    measured = recorded.spec.metric.claimed
    if measured != metric:
        message = f"this study measures {measured}, the new one {metric}"
        raise InputError(Fault(message, field="--from", value=study, hint="state --sd"))
    noise = recorded.noise()
    if noise is None:
        message = "this study does not show how seeds differ"
        hint = "it takes two finished seeds of an arm whose values differ; or state --sd"
        raise InputError(Fault(message, field="--from", value=study, hint=hint))
    return noise
