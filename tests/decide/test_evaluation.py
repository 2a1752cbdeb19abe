"""What a study file registers, and its results as one table of arms × seeds."""

from __future__ import annotations

import pytest

from orchestrator.decide.goals import SAVE
from orchestrator.decide.resolve import ResolveRule
from orchestrator.decide.sequential import RESOLVE
from orchestrator.decide.stopping import rule_of
from orchestrator.stats.moderated import FIRST, GRID, Pooling
from orchestrator.study.spec import ReportSpec, StudySpec

NEWEST = SAVE.terms(SAVE.version).pooling


def study(stopping: dict[str, object], seeds: int) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "x",
            "entrypoint": "module:name",
            "metric": {"name": "accuracy", "mode": "max"},
            "baseline": {},
            "seeds": seeds,
            "stopping": {"rule": "resolve", "max": 3, **stopping},
            "report": {"margin": 0.5},
        }
    )


@pytest.mark.parametrize(
    ("stopping", "seeds", "rule"),
    [
        ({}, 5, ResolveRule((2, 3, 4, 5), 5, gamma=3, margin=0.5, base=4, pooling=NEWEST)),
        ({}, 3, ResolveRule((2, 3), 3, gamma=3, margin=0.5, base=3, pooling=NEWEST)),
        ({"version": 1}, 5, ResolveRule((3, 4, 5), 5, margin=0.5)),
        ({"version": 1}, 8, ResolveRule((3, 4, 5, 6, 8), 8, gamma=1, margin=0.5)),
        (
            {"version": 1, "looks": [2, 5], "gamma": 3.0, "futility": 0.0},
            5,
            ResolveRule((2, 5), 5, 0.05, 3, 0, 0.5),
        ),
        (
            {"goal": "reinvest"},
            5,
            ResolveRule(
                (2, 3, 4, 5, 6, 8, 10, 12),
                5,
                gamma=1.5,
                margin=0.5,
                goal="reinvest",
                base=4,
                pooling=NEWEST,
            ),
        ),
        (
            {"goal": "reinvest", "version": 1},
            5,
            ResolveRule((3, 4, 5, 6, 8, 10, 12), 5, gamma=1, margin=0.5, goal="reinvest"),
        ),
        (
            {"goal": "reinvest", "version": 1, "max_seeds": 4},
            2,
            ResolveRule((2, 3, 4), 2, gamma=2, margin=0.5, goal="reinvest"),
        ),
    ],
)
def test_the_rule_of_a_study_file(stopping: dict[str, object], seeds: int, rule: ResolveRule) -> None:
    assert RESOLVE.on_seeds(study(stopping, seeds), 4) == rule


@pytest.mark.parametrize(
    ("arms", "variance", "union"), [(3, "moderated", True), (4, "moderated", False), (9, "per_arm", True)]
)
def test_few_arms_and_the_strict_mode_take_levels_that_always_hold(
    arms: int, variance: str, union: bool
) -> None:
    spec = study({}, 5).model_copy(update={"report": ReportSpec(variance=variance)})
    rule = RESOLVE.on_seeds(spec, arms)
    assert rule.strict is union
    spent = sum(rule.levels(0.05))
    assert spent == pytest.approx(0.05) if union else spent > 0.05


@pytest.mark.parametrize(
    ("stopping", "variance", "pooling"),
    [
        ({"rule": "none"}, "moderated", GRID),
        ({"rule": "none", "version": 1}, "moderated", FIRST),
        ({"rule": "none"}, "per_arm", FIRST),
        ({"rule": "asha"}, "moderated", FIRST),
        ({"rule": "resolve"}, "moderated", FIRST),  # interactions, which are looked at once
    ],
)
def test_what_a_test_that_looks_once_borrows(
    stopping: dict[str, object], variance: str, pooling: Pooling
) -> None:
    spec = study(stopping, 5)
    spec = spec.model_copy(update={"report": spec.report.model_copy(update={"variance": variance})})
    assert rule_of(spec).pooling(spec) == pooling
