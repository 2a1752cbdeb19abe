from __future__ import annotations

import math

import numpy as np
import pytest
from golden import ROWS
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.stats.moderated import Estimates, additive_fit, estimate

GOLDEN = np.array(ROWS)


def against_first(arms: int) -> np.ndarray:
    return np.hstack([-np.ones((arms, 1)), np.eye(arms)])


def compare(Y: np.ndarray, variance: str = "moderated") -> Estimates:
    return estimate(Y, against_first(len(Y) - 1), variance)  # type: ignore[arg-type]


def test_golden_additive_fit() -> None:
    assert additive_fit(GOLDEN[:, :3]) == (pytest.approx(0.206333, abs=5e-7), 8)


def test_golden_moderated_t() -> None:
    found = compare(GOLDEN[:, :3])
    t = found.mean / found.se
    assert found.mean[1] == pytest.approx(-0.9333, abs=5e-5)
    assert (found.v[1], found.df[1], t[1]) == (
        pytest.approx(0.00963, abs=5e-6),
        6,
        pytest.approx(-16.4738, abs=5e-5),
    )
    assert found.flagged.tolist() == [False, False, False, True]
    assert (found.v[3], found.df[3], t[3]) == (pytest.approx(1.03), 2, pytest.approx(-6.8266, abs=5e-5))


def test_one_arm_is_a_plain_paired_t() -> None:
    found, test = compare(GOLDEN[:2]), stats.ttest_rel(GOLDEN[1], GOLDEN[0])
    assert (found.df.tolist(), found.p[0]) == ([4], pytest.approx(test.pvalue))
    interval = test.confidence_interval(0.95)
    half = found.half_width(0.05)[0]
    assert (found.mean[0] - half, found.mean[0] + half) == pytest.approx((interval.low, interval.high))


def test_per_arm_pools_nothing() -> None:
    found = compare(GOLDEN, "per_arm")
    assert found.p == pytest.approx([stats.ttest_rel(row, GOLDEN[0]).pvalue for row in GOLDEN[1:]])
    assert not found.flagged.any()


def holes(Y: np.ndarray, at: list[tuple[int, int]]) -> np.ndarray:
    Y = Y.copy()
    for cell in at:
        Y[cell] = np.nan
    return Y


def by_least_squares(Y: np.ndarray) -> tuple[float, int]:
    """The additive fit with a dummy variable per arm and seed."""
    cells = [cell for cell in np.ndindex(Y.shape) if np.isfinite(Y[cell])]
    design = np.zeros((len(cells), sum(Y.shape)))
    for row, (arm, seed) in enumerate(cells):
        design[row, arm] = design[row, Y.shape[0] + seed] = 1
    y = np.array([Y[cell] for cell in cells])
    solution, _, rank, _ = np.linalg.lstsq(design, y)
    df = len(cells) - int(rank)
    return (float(np.square(y - design @ solution).sum()) / df if df else math.nan, df)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.floats(0, 0.7))
def test_a_ragged_fit_is_least_squares(seed: int, arms: int, seeds: int, missing: float) -> None:
    random = np.random.default_rng(seed)
    Y = random.normal(size=(arms, seeds)) + 10 * random.normal(size=(arms, 1))
    Y[random.random(Y.shape) < missing] = np.nan
    ours, theirs = additive_fit(Y), by_least_squares(Y)
    assert ours[1] == theirs[1]
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6, nan_ok=True)


def test_only_complete_pairs_count() -> None:
    found = compare(holes(GOLDEN, [(0, 1), (2, 0), (2, 2), (2, 3)]))
    assert found.n.tolist() == [4, 1, 4, 4]
    assert found.mean[1] == pytest.approx(-1.1)
    assert math.isnan(found.p[1])
    assert found.testable.tolist() == [True, False, True, True]


def test_an_interaction_is_moderated_in_its_own_scale() -> None:
    Y = np.random.default_rng(3).normal(size=(4, 4))
    W = np.vstack([against_first(3), [1, -1, -1, 1]])
    found = estimate(Y, W)
    s2e, df = additive_fit(Y)
    assert not found.flagged.any()
    assert found.D[3] == pytest.approx(Y[0] - Y[1] - Y[2] + Y[3])
    assert found.v[3] == pytest.approx(max(found.s2[3], (3 * found.s2[3] + 4 * 4 * s2e) / 7))
    assert (found.df[3], df) == (7, 9)


def test_a_pool_that_has_lost_an_arm_needs_three_others() -> None:
    """Golden data without its first arm: the noisy one still stands alone, and two are too few to lend."""
    assert compare(GOLDEN[:, :3]).df.tolist() == [6, 6, 6, 2]
    fewer = compare(GOLDEN[[0, 2, 3, 4], :3])
    assert fewer.flagged.tolist() == [False, False, True]
    assert fewer.df.tolist() == [2, 2, 2]
    assert compare(GOLDEN[:4, :3]).df.tolist() == [6, 6, 6]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("arms", [1, 2, 3, 4, 8])
def test_the_family_wise_error_without_effects(arms: int, seeds: int) -> None:
    random = np.random.default_rng(0)
    studies = 4000
    wrong = sum(compare(random.normal(size=(arms + 1, seeds))).p.min() <= 0.05 / arms for _ in range(studies))
    assert wrong / studies <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)


def test_equal_differences_have_no_variance() -> None:
    base = np.array([0.3, 0.4, 0.5])
    found = compare(np.array([base, base, base - 0.1]))
    assert found.exact.all()
    assert np.isnan(found.p).all()
    assert np.isnan(found.half_width(0.05)).all()
    assert np.isnan(found.p_equivalent(0.05)).all()


def test_equal_differences_of_one_arm_borrow_the_variance_of_the_others() -> None:
    base = np.array([0.3, 0.4, 0.5])
    found = compare(base + np.array([[0, 0, 0], [-0.1, -0.1, -0.1], [0.01, -0.02, 0.0], [0.02, 0.01, -0.01]]))
    assert not found.flagged.any()
    assert not found.exact.any()
    assert 0 < found.p[0] < 1


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.floats(1e-9, 1e9), st.floats(-1e3, 1e3))
def test_p_does_not_depend_on_the_unit(seed: int, scale: float, shift: float) -> None:
    Y = np.random.default_rng(seed).normal(size=(4, 4))
    one, other = compare(Y), compare(scale * (Y + shift))
    assert other.p == pytest.approx(one.p, rel=1e-5)
    assert other.flagged.tolist() == one.flagged.tolist()


@given(
    st.lists(st.lists(st.floats(), min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from(["moderated", "per_arm"]),
    st.floats(1e-6, 1e6),
)
def test_nothing_breaks_it(rows: list[list[float]], variance: str, margin: float) -> None:
    found = compare(np.array(rows), variance)
    for p in (found.p, found.p_equivalent(margin)):
        assert (np.isnan(p) == ~found.testable).all()
        assert ((p >= 0) & (p <= 1) | np.isnan(p)).all()
    half = found.half_width(0.05)
    assert ((half >= 0) | np.isnan(half)).all()
