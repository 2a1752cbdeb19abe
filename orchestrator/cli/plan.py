"""`orchestrate plan`: exactly what `ablate` would do, before anything starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import console, describe, power, text
from orchestrator.cli.estimate import Estimate, Machine, RunCost, cost_of, estimate, lanes
from orchestrator.cli.options import ConfigOption, JsonOption, OverrideArguments, StorageOption
from orchestrator.cli.pilot import run_pilot
from orchestrator.cli.runs import find_run
from orchestrator.cli.studyfile import PreparedStudy, prepare
from orchestrator.record.run import Run

if TYPE_CHECKING:
    from orchestrator.record.state import StudyState
    from orchestrator.simulate.planning import PowerForecast
    from orchestrator.study.cells import Plan
    from orchestrator.study.spec import StudySpec


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

    Arms with their differences, cells, lanes and, once trials have finished, the cost. With the noise between
    seeds (--sd, --from an earlier study, or --pilot) also what the study can detect. Only --pilot starts
    anything.
    """
    study = prepare(config, overrides)
    spec = study.loaded.spec
    if pilot is not None:
        power.refuse_pilot_beside(sd, earlier)
        earlier = run_pilot(study, pilot, address)
    noise = power.given_noise(sd, rho, earlier, storage, spec.metric.name)
    found = forecast(study, earlier=None if earlier is None else find_run(earlier, storage))
    detects = None if noise is None else power.predict(spec, study.plan, noise)
    show(found, as_json=as_json, detects=detects)


@dataclass(frozen=True)
class Forecast:
    """A plan and what is known of its cost.

    `remaining`: the cells that the next `ablate` runs, in order; under `resolve` the most it can run.
    `answered`: cells that are answered already.
    """

    study: PreparedStudy
    remaining: tuple[str, ...]
    lanes: int
    estimate: Estimate
    answered: int = 0


def forecast(
    study: PreparedStudy, *, retry_failed: bool = False, fresh: bool = False, earlier: Run | None = None
) -> Forecast:
    """Compare the plan with what is recorded; starts nothing, writes nothing.

    Args:
        earlier: a study to tell what a run takes, while this one has finished none.
    """
    from orchestrator.record.recorded import read_record
    from orchestrator.record.state import fold

    spec, plan = study.loaded.spec, study.plan
    own = _run_of(study)
    recorded = None if fresh else read_record(own.storage, own.paths)
    history = None if recorded is None else recorded.state_of(plan)
    cost = None if history is None else cost_of(own.storage, own.paths, history)
    if cost is None and earlier is not None:
        cost = _cost_elsewhere(earlier, spec)
    remaining = _remaining(spec, history or fold([], plan), retry_failed)
    count = lanes(spec.resources, Machine.here(), len(remaining) or len(plan.cells))
    runs = _runs(spec, plan, remaining, history)
    answered = 0 if history is None else sum(record.state.answered for record in history.cells.values())
    return Forecast(study, remaining, count, estimate(runs, count, cost), answered)


def _runs(spec: StudySpec, plan: Plan, remaining: tuple[str, ...], history: StudyState | None) -> int:
    """How many runs are left, at most: results may call for cells that are not in the plan yet, or for
    fewer.
    """
    from orchestrator.study.size import cells_per_arm
    from orchestrator.study.stopping import rule_of

    if not remaining:
        return 0
    later = describe.later_pairs(spec, plan) * len(spec.seeds)
    goal = rule_of(spec).goal(spec)
    if spec.tune is None and not (goal and goal.budgeted):
        return len(remaining) + later
    begun = 0 if history is None else sum(record.attempts > 0 for record in history.cells.values())
    return max(1, len(plan.arms) * cells_per_arm(spec) - begun) + later


def _remaining(spec: StudySpec, history: StudyState, retry_failed: bool) -> tuple[str, ...]:
    """The cells that may still run: first those that have to, in their order, then those that looks may ask
    for.
    """
    from orchestrator.decide.agenda import agenda

    left = set(history.remaining(retry_failed))
    todo = agenda(spec, history.plan, history.with_open(left), history.families)
    cells = dict.fromkeys((*todo.wanted, *todo.ahead, *history.cells))
    return tuple(cell for cell in cells if cell in left and cell not in todo.skip)


def _run_of(study: PreparedStudy) -> Run:
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.storage import Storage

    return Run(Storage.open(study.loaded.spec.storage), StudyPaths.of(study.plan.study))


def _cost_elsewhere(run: Run, spec: StudySpec) -> RunCost | None:
    """What a run takes as another study tells it; None when it measures length in another unit."""
    view = run.view()
    stopping = view.spec["stopping"]
    if stopping["unit"] != spec.stopping.unit:
        return None
    return cost_of(run.storage, run.paths, view.state, float(spec.stopping.max) / float(stopping["max"]))


def document(found: Forecast, detects: PowerForecast | None = None) -> dict[str, Any]:
    """`plan --json`: the keys of `plan.json` with `lanes`, `looks`, `remaining`, `estimate` and `power`."""
    plan = found.study.plan.to_json()
    return {
        **plan,
        "lanes": found.lanes,
        "looks": list(plan["registered"].get("looks", ())),
        "remaining": list(found.remaining),
        "estimate": asdict(found.estimate),
        "power": power.document(detects),
    }


def show(found: Forecast, *, as_json: bool, detects: PowerForecast | None = None) -> None:
    """Print a forecast on stdout, with what the study can detect where that is known."""
    if as_json:
        console.data_json(document(found, detects))
        return
    _show_arms(found)
    spec, plan = found.study.loaded.spec, found.study.plan
    total = len(found.remaining) + found.answered
    left = f"; {found.answered} of {total} answered already" if found.answered else ""
    pairs = describe.interactions(spec, plan)
    lines = {
        "study": f"{plan.study} ({plan.hash}), {spec.design}, {spec.metric.name} ({spec.metric.mode})",
        "cells": f"{describe.size(spec, plan)}{left}",
        **({"tune": describe.tuning(spec, spec.tune)} if spec.tune is not None else {}),
        "stopping": describe.stopping(spec),
        "looks": describe.looks(spec),
        **({"pairs": pairs} if pairs is not None else {}),
        "lanes": f"{found.lanes} at the same time on this machine"
        if found.lanes
        else "none fit on this machine",
        "estimate": _cost(found.estimate, at_most=_at_most(spec, plan)),
        "storage": f"{spec.storage}/{plan.study}",
        **(power.lines(detects, found.estimate) if detects is not None else {}),
    }
    for name, line in lines.items():
        console.data(f"{name + ':':<10}{line}")


def _show_arms(found: Forecast) -> None:
    from rich.table import Table

    plan = found.study.plan
    reference = plan.arm(plan.reference)
    table = Table(box=None, pad_edge=False)
    for heading in ("arm", f"difference from {plan.reference}", "why"):
        table.add_column(heading, overflow="fold")
    for arm in plan.arms:
        if arm.name == plan.reference:
            table.add_row(arm.name, "(reference)", arm.why or "")
        else:
            table.add_row(arm.name, text.difference(arm.set, reference.config), arm.why or "")
    console.show(table, "")


def _at_most(spec: StudySpec, plan: Plan) -> bool:
    """Whether results may call for less than the estimate."""
    from orchestrator.study.stopping import rule_of

    return bool(rule_of(spec).looks(spec)) or bool(describe.later_pairs(spec, plan))


def _cost(cost: Estimate, *, at_most: bool) -> str:
    if cost.runs == 0:
        return "nothing is left to run"
    most = "at most " if at_most else ""
    if cost.wall_s is None and cost.gpu_h is None:
        return f"{most}{cost.runs} runs; time and disk are unknown until a trial has finished"
    parts = [f"{most}{cost.runs} runs", text.duration(cost.wall_s)]
    if cost.gpu_h:
        parts.append(f"{cost.gpu_h:.2f} GPU hours")
    if cost.disk_bytes is not None:
        parts.append(f"{cost.disk_bytes / 2**20:.0f} MiB on disk")
    return ", ".join(parts)
