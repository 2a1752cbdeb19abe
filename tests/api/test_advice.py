"""`plan` says which goal fits the arms and seeds of a study."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.advice import MANY_ARMS, advice
from orchestrator.study.cells import make_plan
from orchestrator.study.registered import GOALS
from orchestrator.study.spec import StudySpec


def advised(study: dict[str, Any], arms: int, seeds: int, **keys: Any) -> str | None:
    swaps = {f"level{index}": {"level": 2.0 + index} for index in range(arms)}
    spec = StudySpec.model_validate(
        {**study, "components": {"level": {"swap": swaps}}, "seeds": seeds, **keys}
    )
    return advice(spec, make_plan(spec))


def test_few_arms_are_saved_from_and_many_are_screened(study: dict[str, Any]) -> None:
    few, many = advised(study, 1, 5), advised(study, MANY_ARMS, 5)
    assert few == (
        "goal: save fits 1 arm whose effects are large; goal: reinvest finds more for all 10 runs; "
        "rule: none where the size of every effect matters"
    )
    assert many is not None
    goal = "screen" if "screen" in GOALS else "save"
    assert many.startswith(f"goal: {goal} fits {MANY_ARMS} arms of which")


def test_nothing_is_advised_where_there_is_no_choice(study: dict[str, Any]) -> None:
    assert "nothing to save" in (advised(study, 3, 2) or "")
    assert advised(study, 3, 1) is None


@pytest.mark.parametrize("design", ["factorial"])
def test_a_crossed_design_has_no_goal(study: dict[str, Any], design: str) -> None:
    components = {"level": {"without": {"level": 0.0}}, "more": {"without": {"more": False}}}
    baseline = {"level": 1.0, "more": True}
    spec = StudySpec.model_validate(
        {**study, "baseline": baseline, "components": components, "design": design, "seeds": 5}
    )
    assert advice(spec, make_plan(spec)) is None
