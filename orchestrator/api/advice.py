"""Which goal of `resolve` fits a study, by what is known before it begins: its arms and seeds."""

from __future__ import annotations

from orchestrator.study.cells import Plan
from orchestrator.study.registered import design_of
from orchestrator.study.spec import StudySpec

MANY_ARMS = 12
"""From so many arms on a screen after one seed loses hardly any power (.011 with 20 arms, .026 with 8)."""
_SIZES = "rule: none where the size of every effect matters"


def advice(spec: StudySpec, plan: Plan) -> str | None:
    """Say which goal fits so many arms and seeds; None for a design or a number of seeds without a choice."""
    arms, seeds = sum(arm.kind not in ("reference", "pair") for arm in plan.arms), len(spec.seeds)
    design = design_of(spec)
    if design.crossed or not design.compares or not arms or seeds < 2:
        return None
    if seeds == 2:
        return "two seeds leave nothing to save: rule: none, or seeds: 5 with rule: resolve"
    if arms >= MANY_ARMS:
        fits = f"goal: screen fits {arms} arms of which most do little"
    else:
        fits = f"goal: save fits {arms} arm{'' if arms == 1 else 's'} whose effects are large"
    return f"{fits}; goal: reinvest finds more for all {(arms + 1) * seeds} runs; {_SIZES}"
