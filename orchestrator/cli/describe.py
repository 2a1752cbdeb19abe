"""A study in words: how much it runs, how trials end early, when effects are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import text

if TYPE_CHECKING:
    from orchestrator.study.cells import Plan
    from orchestrator.study.spec import StudySpec, TuneSpec


def size(spec: StudySpec, plan: Plan) -> str:
    """`8 arms × 5 seeds = 40 trials of 8 epochs`; under `resolve` that is the most there can be, but for the
    pairs that `interactions: auto` may add.
    """
    return f"{_planned(spec, plan)}{_later(spec, plan)}"


def _later(spec: StudySpec, plan: Plan) -> str:
    pairs = later_pairs(spec, plan)
    if not pairs:
        return ""
    seeds = len(spec.seeds)
    which = f"at most {pairs} pair{'' if pairs == 1 else 's'} of arms that differ"
    return f", then {which} × {seeds} seeds = {pairs * seeds} trials"


def later_pairs(spec: StudySpec, plan: Plan) -> int:
    """The most pairs that results may still call for (`interactions: auto`)."""
    from orchestrator.decide.pairs import wants_pairs
    from orchestrator.study.combining import possible_pairs

    return len(possible_pairs(spec)) if wants_pairs(spec, plan) else 0


def _planned(spec: StudySpec, plan: Plan) -> str:
    from orchestrator.study.seeds import most_seeds
    from orchestrator.study.size import samples_per_arm

    arms, seeds, samples = len(plan.arms), len(spec.seeds), samples_per_arm(spec)
    trials = text.length(spec.stopping.max, spec.stopping.unit)
    tuned = f"{arms} arms × {samples} samples = {arms * samples} trials to tune, then " if samples else ""
    twice = "twice (fixed, retuned) " if spec.tune is not None and spec.tune.compare == "both" else ""
    if spec.stopping.rule != "resolve":
        return f"{tuned}{twice}{arms} arms × {seeds} seeds = {arms * seeds} trials of {trials}"
    most = most_seeds(spec)
    if most > seeds:
        budget = f"{twice}{arms} arms × {seeds} seeds = {arms * seeds} trials of {trials}"
        return f"{tuned}{budget}, given where they help most (at most {most} seeds an arm)"
    return f"{tuned}{twice}{arms} arms × at most {seeds} seeds = at most {arms * seeds} trials of {trials}"


def stopping(spec: StudySpec) -> str:
    """How a study ends before its grid is full."""
    rule = spec.stopping
    if rule.rule == "none":
        return "none: every trial runs to its full length"
    if rule.rule == "asha":
        return f"asha: {_rungs(spec, rule.grace, rule.reduction)}, the reference always"
    given_up = f", given up below {rule.futility:.0%} chance of that" if rule.futility else ""
    left = "saved" if rule.goal == "save" else "given to the others"
    return (
        f"resolve: no more seeds for an arm whose effect is resolved{given_up}; what is left over is {left}"
    )


def interactions(spec: StudySpec, plan: Plan) -> str | None:
    """Which interactions are asked for, and what that costs; None where there are none."""
    pairs = sum(arm.kind == "pair" for arm in plan.arms)
    all_seeds = "; the arms they are made of get all their seeds" if spec.stopping.rule == "resolve" else ""
    if pairs:
        return f"{pairs} pair{'' if pairs == 1 else 's'}{all_seeds}"
    if later_pairs(spec, plan):
        return f"auto: all pairs among the arms that turn out to differ{all_seeds}"
    if spec.interactions != "none":
        return "interactions from the runs of the design"
    return None


def tuning(spec: StudySpec, tune: TuneSpec) -> str:
    """The search that every arm gets."""
    from orchestrator.study.size import samples_per_arm

    keys = ", ".join(tune.space)
    how = (
        f"{tune.search} search over {keys}, {samples_per_arm(spec)} samples for every arm (seed {tune.seed})"
    )
    if tune.stopping.rule == "none":
        return f"{how}, all to their full length"
    return f"{how}; asha within each arm: {_rungs(spec, tune.stopping.grace, tune.stopping.reduction)}"


def looks(spec: StudySpec) -> str:
    """When effects are looked at."""
    from orchestrator.study.seeds import looks as numbers

    if spec.stopping.rule != "resolve":
        return "none"
    return f"after {', '.join(map(str, numbers(spec)))} seeds (α = {spec.report.alpha:g} in all)"


def _rungs(spec: StudySpec, grace: float, reduction: float) -> str:
    from orchestrator.decide.rungs import rungs

    steps = ", ".join(text.number(rung) for rung in rungs(grace, reduction, spec.stopping.max))
    return f"rungs at {steps} {spec.stopping.unit}s, the best 1/{text.number(reduction)} go on"
