from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.stats.power import Question, predictive_power, seeds_for_margin, seeds_needed


def by_the_specification(d, v, df, n, later, level, level_equivalent, margin):  # type: ignore[no-untyped-def]
    sd = math.sqrt(v * (1 / n - 1 / later))
    c = stats.t.ppf(1 - level / 2, df + later - n) * math.sqrt(v / later)
    power = stats.norm.cdf((d - c) / sd) + stats.norm.cdf((-c - d) / sd)
    b = margin - stats.t.ppf(1 - level_equivalent / 2, df + later - n) * math.sqrt(v / later)
    if b > 0:
        power += stats.norm.cdf((b - d) / sd) - stats.norm.cdf((-b - d) / sd)
    return power


def power(question: Question, d: float, v: float, df: float, n: int, more: int) -> float:
    """Of one arm and one look, `more` pairs later."""
    arm = (np.array([number], dtype=float) for number in (d, v, df, n))
    return float(predictive_power([question], *arm, np.array([[more]], dtype=float))[0, 0])


@given(st.floats(-3, 3), st.floats(0.01, 10), st.integers(2, 9), st.integers(1, 5), st.floats(0.1, 5))
def test_predictive_power_is_the_specifications(d: float, v: float, n: int, more: int, margin: float) -> None:
    ours = power(Question(0.01, 0.03, margin), d, v, n + 3, n, more)
    assert ours == pytest.approx(
        by_the_specification(d, v, n + 3, n, n + more, 0.01, 0.03, margin), abs=1e-12
    )
    alone = power(Question(0.01), d, v, n + 3, n, more)
    assert 0 <= alone <= ours + 1e-12


def test_without_variance_nothing_changes_any_more() -> None:
    assert power(Question(0.05), 0.0, 0.0, 4, 3, 2) == 0
    assert seeds_needed(Question(0.05), 0.0, 0.0, 4) is None


def test_arms_and_looks_have_a_chance_each_where_one_can_be_told() -> None:
    questions = [Question(0.01), Question(0.05, 0.1, 2.0)]
    d, v, df, n = np.array([[1.0, 2.0, 5.0, 2.0], [0.3, 0.5, 7.0, 3.0], [1.0, np.nan, np.nan, 1.0]]).T
    more = np.array([[1.0, 3.0], [0.0, 2.0], [2.0, 4.0]])
    found = predictive_power(questions, d, v, df, n, more)
    assert found[0].tolist() == [power(questions[0], 1, 2, 5, 2, 1), power(questions[1], 1, 2, 5, 2, 3)]
    assert found[1, 1] == power(questions[1], 0.3, 0.5, 7, 3, 2)
    assert np.isnan(found).tolist() == [[False, False], [True, False], [True, True]]


@given(st.floats(0.05, 5), st.floats(0, 4))
def test_the_seeds_needed_are_the_fewest(d: float, borrowed: float) -> None:
    question = Question(0.00625)
    n = seeds_needed(question, d, 1.0, borrowed)
    assert n is None or n >= 2

    def chance(n: int) -> float:
        return question.answered(d, math.sqrt(1 / n), math.sqrt(1 / n), n - 1 + borrowed)

    if n is None:
        assert chance(1000) < 0.8
    else:
        assert chance(n) >= 0.8
        assert n == 2 or chance(n - 1) < 0.8


def test_no_number_of_seeds_finds_nothing_without_a_margin() -> None:
    assert seeds_needed(Question(0.05), 0.0, 1.0, 4) is None
    assert seeds_needed(Question(0.05, 0.1, 1.0), 0.0, 1.0, 4) is not None


def test_a_margin_of_one_sd_needs_about_thirty_seeds() -> None:
    assert 25 <= seeds_for_margin(1.0, 1.0, arms=8) <= 35  # type: ignore[operator]
    assert seeds_for_margin(1.0, 1.0, 0.5, arms=8) < seeds_for_margin(1.0, 1.0, arms=8)  # type: ignore[operator]
    assert seeds_for_margin(1e-3, 1.0) is None
