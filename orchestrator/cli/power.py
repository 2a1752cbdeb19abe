"""What a study can detect, for `orchestrate plan`: from a stated noise, an earlier study or a pilot."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.cli import text
from orchestrator.cli.runs import find_run
from orchestrator.errors import Fault, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orchestrator.cli.estimate import Estimate
    from orchestrator.simulate.planning import ExpectedCost, Noise, PowerForecast
    from orchestrator.study.cells import Plan
    from orchestrator.study.spec import StudySpec


def given_noise(
    sd: float | None, rho: float | None, earlier: str | None, storage: str, metric: str
) -> Noise | None:
    """The noise that the options name; None where they name none.

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


def refuse_pilot_beside(sd: float | None, earlier: str | None) -> None:
    """Raises `InputError` when the noise is known already."""
    for value, field in ((sd, "--sd"), (earlier, "--from")):
        if value is not None:
            raise InputError(Fault("not together with --pilot", field=field, hint="give one of the two"))


def _recorded_noise(study: str, storage: str, metric: str) -> Noise:
    """The noise between the seeds of an earlier study's arms."""
    from orchestrator.decide.evaluation import evaluations, table
    from orchestrator.simulate.planning import noise_of
    from orchestrator.study.spec import StudySpec

    run = find_run(study, storage)
    view = run.view()
    spec = StudySpec.model_validate(view.spec)
    if spec.metric.name != metric:
        message = f"this study measures {spec.metric.name}, the new one {metric}"
        raise InputError(Fault(message, field="--from", value=study, hint="state --sd"))
    evaluation = evaluations(spec, view.plan, view.state.families)[0]
    results = table(evaluation, view.state.cells).values.tolist()
    values = {
        arm: dict(zip(evaluation.seeds, row, strict=True))
        for arm, row in zip(evaluation.arms, results, strict=True)
    }
    reference = values.pop(evaluation.arms[0])
    noise = noise_of(reference, values)
    if noise is None:
        hint = "it takes two finished seeds of an arm whose values differ; or state --sd"
        raise InputError(
            Fault("this study does not show how seeds differ", field="--from", value=study, hint=hint)
        )
    return noise


def predict(spec: StudySpec, plan: Plan, noise: Noise) -> PowerForecast:
    """What this study can detect with that noise. Takes about a second: it simulates."""
    from dataclasses import replace

    from orchestrator.decide.sequential import RESOLVE
    from orchestrator.simulate.planning import power_forecast
    from orchestrator.study.combining import CROSSED
    from orchestrator.study.size import cells_per_arm

    crossed = spec.design in CROSSED
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
    """The weights of the main effects of a factorial design, (effects, arms)."""
    import numpy as np

    from orchestrator.study.contrasts import contrasts

    main = [contrast for contrast in contrasts(spec, plan.arms) if contrast.kind == "main"]
    return np.array([[one.weights.get(arm.name, 0.0) for arm in plan.arms] for one in main])


def _whole(spec: StudySpec, plan: Plan, cost: ExpectedCost, grid_runs: int) -> ExpectedCost:
    """The cost of the study from that of one evaluation: with its search, and twice where it has two."""
    from dataclasses import replace

    from orchestrator.simulate.metrics import Figure
    from orchestrator.study.size import cells_per_arm, samples_per_arm

    fixed = len(plan.arms) * samples_per_arm(spec)
    times = (cells_per_arm(spec) - samples_per_arm(spec)) // len(spec.seeds)
    grid, share = len(plan.arms) * len(spec.seeds), cost.share

    def of_all(part: float) -> float:
        return (fixed + times * part * grid) / grid_runs

    se = None if share.se is None else share.se * times * grid / grid_runs
    whole = Figure(of_all(share.value), se, of_all(share.lo), of_all(share.hi))
    return replace(cost, runs=fixed + times * cost.runs, share=whole)


def lines(found: PowerForecast, cost: Estimate | None = None) -> dict[str, str]:
    """The forecast in words, one line per heading; `cost`: an estimate that tells what a run takes."""
    said = {"noise": _noise(found.noise)}
    if found.smallest_effect is not None:
        said["detects"] = (
            f"{'effects' if found.effects == found.arms else 'main effects'} from "
            f"{found.smallest_effect:.3g}, with a chance of {found.power:g} "
            f"(all {found.seeds} seeds, {_family(found)}, level {found.alpha:g})"
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
        said["margin"] = f"±{text.number(found.margin)}: equivalence takes about {seeds}"
    return said


def document(found: PowerForecast | None) -> dict[str, Any] | None:
    """`plan --json`, under `power`."""
    return None if found is None else asdict(found)


def _family(found: PowerForecast) -> str:
    noun = "arm" if found.effects == found.arms else "component"
    return f"{found.effects} {noun}{'' if found.effects == 1 else 's'}"


def _noise(noise: Noise) -> str:
    arms = f"{noise.arms} arm{'' if noise.arms == 1 else 's'}"
    source = f"from {arms}, up to {noise.seeds} seeds each" if noise.arms else "as stated"
    shared = f"correlation of arms over a seed {noise.rho:.2g}"
    return f"SD between seeds {noise.sd:.3g}, {shared} ({source})"


def _hours(runs: float, cost: Estimate | None) -> str:
    if cost is None or not cost.gpu_h or not cost.runs:
        return ""
    return f" ({cost.gpu_h / cost.runs * runs:.2f} GPU hours)"
