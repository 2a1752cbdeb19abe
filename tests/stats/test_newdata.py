"""The interval for new seeds and new data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.simulate.newdata import coverage, right_or_wrong, two_way
from orchestrator.stats.newdata import SampleVariance, for_new_data, sample_variance, widened
from orchestrator.stats.results import HURTS, Effect

EFFECT = Effect(
    arm="no-a", kind="main", reference="baseline", n=3, method="paired t", verdict=HURTS, seeds=(0, 1, 2)
)


def test_the_samples_variance_is_that_of_the_two_way_table() -> None:
    D = np.array([[1.0, 2.0, 6.0], [2.0, 5.0, 8.0]])
    # by hand: sample means 1.5, 3.5, 7 about 4, seed means 3 and 5; what is left is ±0.5, ∓0.5, 0
    mean_square, rest = 2 * (2.5**2 + 0.5**2 + 3.0**2) / 2, 2 * (0.5**2 + 0.5**2) / 2
    found = sample_variance(D)
    assert found is not None
    assert (found.samples, found.seeds) == (3, 2)
    assert found.added == pytest.approx((mean_square - rest) / 6)
    assert found.spread == pytest.approx((mean_square**2 / 2 + rest**2 / 2) / 36)


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (0, 4)])
def test_one_seed_or_one_sample_says_nothing(shape: tuple[int, int]) -> None:
    assert sample_variance(np.ones(shape)) is None


def test_numbers_that_overflow_say_nothing() -> None:
    assert sample_variance(np.array([[1e200, -1e200], [1e200, -1e200]])) is None


def test_samples_that_add_nothing_leave_the_interval_as_it_is() -> None:
    effect = replace(EFFECT, lo=-3.0, hi=-1.0, se=0.5, df=2.0)
    found = for_new_data(effect, SampleVariance(100, 3, 0.0, 1.0))
    assert found is not None
    assert (found.lo, found.hi, found.se, found.df) == (-3.0, -1.0, 0.5, 2.0)
    assert not found.holds_zero


def test_an_effect_without_an_interval_gets_none() -> None:
    assert for_new_data(EFFECT, SampleVariance(100, 3, 1.0, 1.0)) is None


@given(st.floats(1e-3, 1e3), st.integers(1, 12), st.floats(1e-6, 1e6), st.integers(2, 10_000))
def test_it_contains_the_interval_for_new_seeds(variance: float, df: int, added: float, m: int) -> None:
    half, both, freedom = widened(variance, df, SampleVariance(m, 2, added, added**2 / m), 0.05, 2.0)
    assert half >= 2.0
    assert both == variance + added
    assert 0 < freedom <= 1.0001 * (df + m)


def test_it_has_the_level_of_the_first_interval() -> None:
    """With many degrees of freedom both are normal: as many standard errors wide."""
    effect = replace(EFFECT, lo=-3.29, hi=3.29, se=1.0, df=1e6)
    found = for_new_data(effect, SampleVariance(10**6, 3, 8.0, 1e-6))
    assert found is not None
    assert found.hi / found.se == pytest.approx(3.29, rel=1e-4)
    assert found.se == pytest.approx(3.0)


@pytest.mark.parametrize(("seeds", "share"), [(2, 0.25), (3, 0.9), (5, 0.5)])
def test_it_covers(seeds: int, share: float) -> None:
    """The full figures are in docs/statistics.md; here few draws, four standard errors of tolerance."""
    found = coverage(two_way(seeds, 50, share), 800)
    assert 0.92 <= found.both <= 0.995
    assert found.both >= max(found.formula, found.seeds)


def test_scores_of_zero_and_one_are_covered() -> None:
    assert 0.92 <= coverage(right_or_wrong(3, 200, 0.02), 500).both <= 0.99
