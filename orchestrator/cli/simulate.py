"""`orchestrate simulate`: how often each rule errs and what it costs, on known truths or a recorded study."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import console, replay
from orchestrator.cli.options import JsonOption, StorageOption
from orchestrator.errors import Fault, InputError
from orchestrator.reporting import plain

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.simulate.metrics import Figure, Summary
    from orchestrator.simulate.series import Series

MOST_SEEDS = 100
MOST_ARMS = 200


def command(
    recorded: Annotated[
        str | None,
        typer.Option("--from", metavar="STUDY", help="Replay a recorded study instead of generated ones."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="none, asha, resolve, or one method: grid, save, screen, reinvest, strict, ...",
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="S1: five of eight arms matter; S2: none; baseline-x3, arms-3x5, falls, ..."
        ),
    ] = None,
    studies: Annotated[int | None, typer.Option(help="Studies to simulate; default 1000.")] = None,
    arms: Annotated[int | None, typer.Option(help="Arms besides the baseline; default 8.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds of the grid; default 5.")] = None,
    rho: Annotated[float | None, typer.Option(help="Correlation of arms over a seed; mostly 0.3.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Practically equal below this, in SDs between seeds.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Family-wise level; default 0.05.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another series of studies; default 0.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; the figures stay the same.")] = None,
    storage: StorageOption = "runs",
    as_json: JsonOption = False,
) -> None:
    """Simulate studies with known effects, or replay a recorded one.

    Says for every rule what it costs, how often it errs and how much it finds.
    """
    settings = {"scenario": scenario, "studies": studies, "arms": arms, "seeds": seeds, "rho": rho}
    settings |= {"margin": margin, "alpha": alpha, "seed": seed, "jobs": jobs}
    given = {name: value for name, value in settings.items() if value is not None}
    if recorded is not None:
        hint = "remove it, or --from; a recorded study has its own arms, seeds, margin and level"
        if given:
            raise InputError(
                [Fault("not together with --from", field=f"--{key}", hint=hint) for key in given]
            )
        replay.show(recorded, storage, rule or (), as_json=as_json)
        return
    _generated(given, rule or (), as_json=as_json)


def _generated(given: dict[str, Any], rules: Sequence[str], *, as_json: bool) -> None:
    from orchestrator.simulate import methods
    from orchestrator.simulate.generator import scenario
    from orchestrator.simulate.series import Series, run

    _check(given)
    try:
        truth = scenario(given.get("scenario", "S1"), given.get("arms", 8), given.get("rho"))
    except ValueError as error:
        raise InputError(Fault(str(error), field="--rho")) from None
    own = {key: given[key] for key in ("seeds", "alpha", "margin") if key in given}
    design = methods.SimulatedDesign(**own)
    series = Series(truth, design, given.get("studies", 1000), given.get("seed", 0))
    try:
        chosen = methods.pick(rules)
    except ValueError as error:
        raise InputError(Fault(str(error), field="--rule")) from None

    few = [one for one in chosen if series.truth.arms < one.fewest_arms]
    if faults := [
        Fault(
            f"needs at least {one.fewest_arms} arms",
            field="--rule",
            value=one.name,
            hint="use a larger --arms",
        )
        for one in few
        if one.name in rules
    ]:
        raise InputError(faults)
    chosen = tuple(one for one in chosen if one not in few)

    def progress(done: int) -> None:
        console.progress(f"{done} of {series.studies} studies")

    found = run(series, chosen, jobs=given.get("jobs", 1), progress=progress)
    if as_json:
        console.data_json(document(series, found))
        return
    console.data(
        f"{truth.title}: {series.studies} studies, {truth.arms} arms and the baseline, {design.seeds} seeds, "
        f"ρ = {plain.number(truth.rho)}"
    )
    console.show(table(found), "")
    console.data(LEGEND)


def _check(given: dict[str, Any]) -> None:
    from orchestrator.simulate.generator import SCENARIOS

    valid: dict[str, tuple[Callable[[Any], bool], str]] = {
        "scenario": (lambda name: name in SCENARIOS, ", ".join(SCENARIOS)),
        "studies": (lambda n: n >= 1, "a number from 1"),
        "arms": (lambda n: 1 <= n <= MOST_ARMS, f"a number from 1 to {MOST_ARMS}"),
        "seeds": (lambda n: 2 <= n <= MOST_SEEDS, f"a number from 2 to {MOST_SEEDS}"),
        "rho": (lambda rho: 0 <= rho < 1, "a correlation from 0 to below 1"),
        "margin": (lambda margin: 0 < margin < float("inf"), "a number above 0"),
        "alpha": (lambda alpha: 0 < alpha < 1, "a level between 0 and 1"),
        "seed": (lambda n: n >= 0, "a number from 0"),
        "jobs": (lambda n: 1 <= n <= (os.cpu_count() or 1), f"a number from 1 to {os.cpu_count() or 1}"),
    }
    faults = [
        Fault("cannot be used", field=f"--{name}", value=str(value), hint=f"valid: {valid[name][1]}")
        for name, value in given.items()
        if not valid[name][0](value)
    ]
    if faults:
        raise InputError(faults)


LEGEND = (
    "cost: trained length over the grid's; FWER: studies with a false effect; wrong sign: studies with one;\n"
    "power: effects found; coverage (worst arm) and median width: of the intervals, in SDs between seeds;\n"
    "±: standard error of the simulation"
)
COLUMNS = ("method", "cost", "FWER", "wrong sign", "power", "coverage", "worst arm", "width")
EQUIVALENCE = ("equivalent", "falsely so")


def table(found: Sequence[Summary]) -> Table:
    """One row per method; columns on equivalence only where a margin was given."""
    from orchestrator.simulate.methods import method

    with_margin = any(summary.equivalent or summary.false_equivalent for summary in found)
    headings = (*COLUMNS, *(EQUIVALENCE if with_margin else ()))
    rows = []
    for one in found:
        figures = [one.cost, one.fwer, one.wrong_sign, one.power, one.coverage, one.worst_coverage, one.width]
        figures += [one.equivalent, one.false_equivalent] if with_margin else []
        rows.append((method(one.method).title, *map(_figure, figures)))
    return console.table(headings, rows, range(1, len(headings)), wrap=False)


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.value:.3f}" if figure.se is None else f"{figure.value:.3f} ± {figure.se:.3f}"


def document(series: Series, found: Sequence[Summary]) -> dict[str, Any]:
    """`simulate --json`: the series and, per method, each figure with its standard error and interval."""
    return {
        "scenario": asdict(series.truth),
        "design": asdict(series.design),
        "studies": series.studies,
        "seed": series.seed,
        "methods": [asdict(summary) for summary in found],
    }
