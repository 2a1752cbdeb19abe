from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.effects import p_holm
from orchestrator.decide.resolve import ResolveRule, resolve
from orchestrator.stats.holm import holm


def course_of(rule: ResolveRule, values: np.ndarray):  # type: ignore[no-untyped-def]
    return resolve(rule, values, np.ones(values.shape, dtype=bool))


def generated(seed: int, arms: int, seeds: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(arms + 1, seeds)) + 1.5 * random.normal(size=(arms + 1, 1))


def test_with_one_look_it_is_holms_p() -> None:
    rule = ResolveRule((5,), 5)
    course = course_of(rule, generated(1, 6, 5))
    adjusted = p_holm(course.looks, rule, 6)
    assert list(adjusted.values()) == pytest.approx(list(holm([look.p for look in course.looks])))


def test_the_first_of_two_looks_by_hand() -> None:
    """One arm, different at look 3 of 3-4-5: α·(3/5)² reaches p."""
    rule = ResolveRule((3, 4, 5), 5)
    values = np.array([[0.0, 0.1, 0.2, 0.0, 0.0], [5.0, 5.2, 5.1, 0.0, 0.0]])
    course = course_of(rule, values)
    assert p_holm(course.looks, rule, 1)[1] == pytest.approx(course.final[1].p / 0.36)  # type: ignore[operator]


def test_an_arm_without_a_test_has_none_and_still_counts() -> None:
    rule = ResolveRule((5,), 5)
    values = generated(1, 2, 5)
    alone = p_holm(course_of(rule, values[:2]).looks, rule, 1)
    values[2] = np.nan
    course = course_of(rule, values)
    crowd = p_holm(course.looks, rule, 2)
    assert crowd[2] is None
    assert crowd[1] == pytest.approx(2 * alone[1])


rules = st.sampled_from(
    [
        ResolveRule((3, 4, 5), 5),
        ResolveRule((3, 4, 5), 5, variance="per_arm"),
        ResolveRule((2, 3, 5), 5, margin=1.0, futility=0),
        ResolveRule((3, 4, 6, 8), 4, gamma=1, goal="reinvest"),
    ]
)


@pytest.mark.slow
@given(rules, st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([0.05, 0.2]))
def test_at_most_alpha_exactly_where_the_rule_says_different(
    rule: ResolveRule, seed: int, arms: int, alpha: float
) -> None:
    rule = ResolveRule(**{**rule.__dict__, "alpha": alpha})
    course = course_of(rule, generated(seed, arms, rule.looks[-1]))
    adjusted = p_holm(course.looks, rule, arms)
    for arm, p in adjusted.items():
        assert p is not None
        assert 0 <= p <= 1
        assert (p <= alpha) == (course.final[arm].action == "different")


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_arms_does_not_matter(seed: int) -> None:
    rule = ResolveRule((3, 4, 5), 5)
    values = generated(seed, 4, 5)
    one = p_holm(course_of(rule, values).looks, rule, 4)
    other = p_holm(course_of(rule, values[[0, 3, 1, 4, 2]]).looks, rule, 4)
    assert [other[row] for row in (2, 4, 1, 3)] == pytest.approx([one[row] for row in (1, 2, 3, 4)])


@pytest.mark.slow
def test_thirty_arms_are_quick_enough_to_be_exact() -> None:
    rule = ResolveRule((3, 4, 5), 5)
    course = course_of(rule, generated(0, 30, 5))
    assert len(p_holm(course.looks, rule, 30)) == 30
