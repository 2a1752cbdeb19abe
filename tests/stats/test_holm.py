from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from orchestrator.stats.holm import benjamini_hochberg, holm

probabilities = st.lists(st.floats(0, 1), max_size=20)


def test_against_values_computed_by_hand() -> None:
    # sorted: .005·4 = .02, .01·3 = .03, .03·2 = .06, .04·1 -> .06 (never below the one before)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.6]) == (1.0, 1.0)
    assert holm([0.04]) == (0.04,)
    assert holm([]) == ()


def test_what_could_not_be_tested_still_counts() -> None:
    assert holm([0.01, None, 0.02]) == (pytest.approx(0.03), None, pytest.approx(0.04))
    assert holm([None, None]) == (None, None)


@given(probabilities)
def test_bounds_and_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, corrected in zip(p_values, adjusted, strict=True):
        assert corrected is not None
        assert p <= corrected <= min(1.0, p * len(p_values))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)  # type: ignore[type-var]


@given(probabilities.filter(bool), st.data())
def test_a_smaller_p_makes_no_other_p_larger(p_values: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(p_values) - 1))
    lowered = list(p_values)
    lowered[index] = data.draw(st.floats(0, p_values[index]))
    assert all(new <= old for new, old in zip(holm(lowered), holm(p_values), strict=True))  # type: ignore[operator]


@given(probabilities, st.randoms(use_true_random=False))
def test_the_order_of_the_arms_does_not_matter(p_values, random) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(p_values)))
    random.shuffle(order)
    shuffled = holm([p_values[i] for i in order])
    assert [holm(p_values)[i] for i in order] == list(shuffled)


@pytest.mark.long
@pytest.mark.slow
@settings(max_examples=15)
@given(probabilities.filter(bool))
def test_against_statsmodels(p_values: list[float]) -> None:
    for ours, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        theirs = multipletests(p_values, method=method)[1]
        assert ours(p_values) == pytest.approx(theirs.tolist(), rel=1e-9, abs=1e-12)


def test_q_counts_what_could_not_be_tested() -> None:
    assert benjamini_hochberg([0.01, None, 0.02]) == (pytest.approx(0.03), None, pytest.approx(0.03))
