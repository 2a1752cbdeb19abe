"""What a study can detect, given how much its metric differs between seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.reporting import plain
from orchestrator.study.designs import cells_per_arm
from orchestrator.study.registered import design_of
from orchestrator.study.search import samples_per_arm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orchestrator.api.forecasting import Estimate
    from orchestrator.simulate.planning import ExpectedCost, Noise, PowerForecast
    from orchestrator.study.cells import Plan
    from orchestrator.study.spec import StudySpec


def predict(spec: StudySpec, plan: Plan, noise: Noise) -> PowerForecast:
    """Return what this study can detect with that noise. Takes about a second: it simulates."""
    from orchestrator.decide.sequential import RESOLVE
    from orchestrator.simulate.planning import power_forecast

    crossed = design_of(spec).crossed
    pairs = any(arm.kind == "pair" for arm in plan.arms) and not crossed
    arms = len(plan.arms) - 1 if crossed else sum(arm.kind not in ("reference", "pair") for arm in plan.arms)
    found = power_forecast(
        noise,
        arms,
        len(spec.seeds),
        alpha=spec.report.alpha,
        margin=None if spec.report.margin is None else float(spec.report.margin),
        variance=spec.report.variance,
        # the arms that pairs are made of get all their seeds, whatever the rule says
        rule=None if crossed or pairs or len(spec.seeds) < 2 else RESOLVE.on_seeds(spec, arms),
        weights=_main_effects(spec, plan) if crossed else None,
        grid_runs=len(plan.arms) * cells_per_arm(spec),
    )
    return replace(found, expected=tuple(_whole(spec, plan, one, found.grid_runs) for one in found.expected))


def _main_effects(spec: StudySpec, plan: Plan) -> NDArray[np.float64]:
    """Return the weights of the main effects of a factorial design, (effects, arms)."""
    import numpy as np

    main = [contrast for contrast in design_of(spec).contrasts(spec, plan.arms) if contrast.kind == "main"]
    return np.array([[one.weights.get(arm.name, 0.0) for arm in plan.arms] for one in main])


def _whole(spec: StudySpec, plan: Plan, cost: ExpectedCost, grid_runs: int) -> ExpectedCost:
    """Return cost of the study from that of one evaluation: with its search, and twice where it has two."""
    from orchestrator.simulate.metrics import Figure

    fixed = len(plan.arms) * samples_per_arm(spec)
    times = (cells_per_arm(spec) - samples_per_arm(spec)) // len(spec.seeds)
    grid, share = len(plan.arms) * len(spec.seeds), cost.share

    def of_all(part: float) -> float:
        return (fixed + times * part * grid) / grid_runs

    se = None if share.se is None else share.se * times * grid / grid_runs
    whole = Figure(of_all(share.value), se, of_all(share.lo), of_all(share.hi))
    return replace(cost, runs=fixed + times * cost.runs, share=whole)


def lines(found: PowerForecast, cost: Estimate | None = None) -> dict[str, str]:
    """Return the forecast in words, one line per heading; `cost`: an estimate that tells what a run takes."""
    said = {"noise": _noise(found.noise)}
    if found.smallest_effect is not None:
        effects, noun = ("effects", "arm") if found.effects == found.arms else ("main effects", "component")
        family = f"{found.effects} {noun}{'' if found.effects == 1 else 's'}"
        said["detects"] = (
            f"{effects} from {found.smallest_effect:.3g}, with a chance of {found.power:g} "
            f"(all {found.seeds} seeds, {family}, level {found.alpha:g})"
        )
    said["grid"] = f"{found.grid_runs} runs{_hours(found.grid_runs, cost)}"
    expected = [
        f"{round(one.runs)} runs{_hours(one.runs, cost)}, {one.share.value:.2f} of the grid, if {one.assumed}"
        for one in found.expected
    ]
    if expected:
        said["resolve"] = f"about {'; '.join(expected)}"
    if found.margin is not None:
        seeds = (
            "more than 1000 seeds" if found.seeds_for_margin is None else f"{found.seeds_for_margin} seeds"
        )
        said["margin"] = f"±{plain.number(found.margin)}: equivalence takes about {seeds}"
    return said


def _noise(noise: Noise) -> str:
    arms = f"{noise.arms} arm{'' if noise.arms == 1 else 's'}"
    source = f"from {arms}, up to {noise.seeds} seeds each" if noise.arms else "as stated"
    shared = f"correlation of arms over a seed {noise.rho:.2g}"
    return f"SD between seeds {noise.sd:.3g}, {shared} ({source})"


def _hours(runs: float, cost: Estimate | None) -> str:
    if cost is None or not cost.gpu_h or not cost.runs:
        return ""
    return f" ({cost.gpu_h / cost.runs * runs:.2f} GPU hours)"
