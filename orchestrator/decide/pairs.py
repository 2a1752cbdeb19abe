"""Interactions: which runs they need, and which pairs `interactions: auto` asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.decide.evaluation import Facts, evaluations, table
from orchestrator.decide.stopping import rule_of
from orchestrator.stats.fixed import fixed_effects
from orchestrator.stats.results import HELPS, HURTS, SIZE_UNCLEAR
from orchestrator.study.cells import FIXED, Batch, Cell, Plan, make_cells
from orchestrator.study.designs import chosen_later, pair_arms, possible_pairs
from orchestrator.study.registered import design_of
from orchestrator.study.spec import StudySpec

_DIFFERENT = (HELPS, HURTS, SIZE_UNCLEAR)


def interaction_cells(spec: StudySpec, plan: Plan) -> list[Cell]:
    """Every run that the interactions in the plan are computed from: their arms under all registered seeds.

    An interaction is judged once, from all of its seeds; so the arms it is made of run them all, whatever the
    sequential rule has already decided about their main effects.
    """
    if not any(arm.kind == "pair" for arm in plan.arms):
        return []
    contrasts = design_of(spec).contrasts(spec, plan.arms)
    arms = {arm for one in contrasts if one.kind == "interaction" for arm in one.weights}
    seeds = set(spec.seeds)
    return [cell for cell in plan.cells if cell.phase == FIXED and cell.arm in arms and cell.seed in seeds]


def undecided_arms(spec: StudySpec, plan: Plan, finished: Sequence[bool]) -> frozenset[str]:
    """Arms whose seeds `interactions: auto` may ask for: all, until the main effects are known."""
    if not wants_pairs(spec, plan) or all(finished):
        return frozenset()
    return frozenset(arm.name for arm in plan.arms)


def wants_pairs(spec: StudySpec, plan: Plan) -> bool:
    """Whether pairs are still to be chosen: a factorial design has all of them in its runs already."""
    chosen = any(arm.kind == "pair" for arm in plan.arms)
    return chosen_later(spec) and design_of(spec).chooses_pairs and not chosen


def interaction_batch(spec: StudySpec, resolved: Iterable[str]) -> Batch | None:
    """Return the pairs of the components whose main effects are resolved; None when there are none."""
    arms = pair_arms(spec, possible_pairs(spec, frozenset(resolved)))
    if not arms:
        return None
    names = ", ".join(arm.name for arm in arms)
    return Batch(f"interactions: auto: {names}", arms, tuple(make_cells(spec, arms, spec.seeds)))


def resolved_on_grid(spec: StudySpec, plan: Plan, facts: Mapping[str, Facts]) -> frozenset[str]:
    """Arms of the first family that differ from the reference when the whole grid has run (rule `none`)."""
    first = evaluations(spec, plan, {})[0]
    if first.phase != FIXED:
        return frozenset()
    results = table(first, facts)
    rows = zip(first.arms, results.values, strict=True)
    values = {arm: dict(zip(first.seeds, row, strict=True)) for arm, row in rows}
    main = [contrast for contrast in design_of(spec).contrasts(spec, plan.arms) if contrast.kind == "main"]
    judged = spec.report.model_dump(include={"alpha", "margin", "variance"})
    judged["pooling"] = rule_of(spec).pooling(spec)
    effects = fixed_effects(values, main, spec.metric.claimed_mode, **judged, failures={})
    return frozenset(effect.arm for effect in effects if effect.verdict in _DIFFERENT)
