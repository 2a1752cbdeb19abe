from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.stats.descriptions import compare_failures, hedges_g, sign_flip_p, wins

counts = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda pair: (min(pair), max(pair)))


@pytest.mark.slow
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3))
def test_wins_against_scipy(better: int, worse: int, ties: int) -> None:
    D = np.array([1.0] * better + [-2.0] * worse + [0.0] * ties)
    found = wins(D, 0.05)
    if not better + worse:
        assert found is None
        return
    test = stats.binomtest(better, better + worse).proportion_ci(0.95, method="exact")
    assert found is not None
    assert (found.share, found.n) == (better / (better + worse), better + worse)
    assert (found.lo, found.hi) == pytest.approx((test.low, test.high), abs=1e-9)


@settings(max_examples=20)
@given(st.lists(st.integers(-1000, 1000).map(lambda d: d / 64), min_size=6, max_size=9))
def test_sign_flips_against_scipy(D: list[float]) -> None:
    test = stats.permutation_test((np.array(D),), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(np.array(D)) == pytest.approx(test.pvalue, abs=1e-9)


def test_sign_flips_need_six_pairs_and_are_drawn_beyond_sixteen() -> None:
    random = np.random.default_rng(0)
    assert sign_flip_p(np.ones(5)) is None
    assert sign_flip_p(np.ones(6)) == 2 / 2**6
    many = random.normal(0.4, 1, size=20)
    assert sign_flip_p(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.01)
    assert sign_flip_p(many) == sign_flip_p(many)


@pytest.mark.parametrize("n", [17, 24, 150])
def test_drawn_sign_flips_are_counted_one_by_one(n: int) -> None:
    D = np.random.default_rng(n).normal(0.2, size=n)
    signs = 2 * np.random.default_rng(0).integers(0, 2, size=(1 << 16, n)) - 1
    as_extreme = int((np.abs(signs @ D) >= abs(D.sum()) * (1 - 1e-12)).sum())
    assert sign_flip_p(D) == (1 + as_extreme) / (1 + (1 << 16))
    assert sign_flip_p(np.array([math.inf] * 8)) is None


def test_hedges_g_by_hand() -> None:
    """J(4) = Γ(2) / (√2 Γ(1.5)) = 0.797885; the usual 1 − 3/(4·4 − 1) = 0.8 approximates it."""
    assert hedges_g(2.0, 1.0, 5) == pytest.approx(2 * 0.797885, abs=1e-6)
    assert hedges_g(1.0, 1.0, 2) is None
    assert hedges_g(1.0, 0.0, 5) is None


@given(counts, counts)
def test_fisher_against_scipy(arm: tuple[int, int], reference: tuple[int, int]) -> None:
    found = compare_failures(arm, reference)
    assert found is not None
    if not arm[1] or not reference[1]:
        assert found.p is None
        return
    table = [[failed, runs - failed] for failed, runs in (arm, reference)]
    assert found.p == pytest.approx(stats.fisher_exact(table).pvalue)


def test_failures_that_nobody_counted() -> None:
    assert compare_failures(None, (0, 5)) is None
    assert compare_failures((0, 5), None) is None
