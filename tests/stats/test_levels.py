from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stats.levels import (
    alpha_of,
    nominal_levels,
    solve_levels,
    spending,
)

looks_of = st.lists(st.integers(2, 40), min_size=1, max_size=7, unique=True).map(lambda ls: tuple(sorted(ls)))


@pytest.mark.parametrize(
    ("alpha", "looks", "gamma", "levels"),
    [
        (0.05, (3, 4, 5), 2, (0.018, 0.023836, 0.035249)),
        (0.00625, (3, 4, 5), 2, (0.00225, 0.00267, 0.003814)),
        (0.05, (2, 3, 4, 5), 3, (0.0032, 0.009266, 0.021131, 0.04084)),
        (0.05 / 3, (2, 3, 4, 5), 3, (0.001067, 0.003008, 0.006747, 0.012854)),
        (0.00625, (2, 3, 4, 5), 3, (0.0004, 0.001105, 0.002447, 0.00461)),
        (0.05, (2, 3, 4, 5), 2, (0.008, 0.013719, 0.0228, 0.034652)),
        (
            0.05,
            (3, 4, 5, 6, 8, 10, 12),
            1,
            (0.0125, 0.00873, 0.009342, 0.010372, 0.015483, 0.018532, 0.021512),
        ),
    ],
)
def test_golden_levels(alpha: float, looks: tuple[int, ...], gamma: float, levels: tuple[float, ...]) -> None:
    # the last two of the longest row carry the integration error of where they come from: see the next test
    assert nominal_levels(alpha, looks, gamma) == pytest.approx(levels, abs=1e-6)


def test_against_simpsons_rule_on_fine_grids() -> None:
    """Composite Simpson with 201, 801 and 3201 points, bounds by Brent's method: equal to 8 digits."""
    levels = (0.0125, 0.00873001, 0.00934202, 0.01037159, 0.01548254, 0.01853129, 0.02151116)
    assert nominal_levels(0.05, (3, 4, 5, 6, 8, 10, 12), 1) == pytest.approx(levels, abs=6e-9)


def test_the_error_is_alpha_by_simulation() -> None:
    looks = (3, 4, 5, 6, 8, 10, 12)
    steps = np.random.default_rng(0).standard_normal((200_000, 12))
    scores = np.cumsum(steps, axis=1)[:, [n - 1 for n in looks]] / np.sqrt(looks)
    p = np.vectorize(math.erfc)(np.abs(scores[:20_000]) / math.sqrt(2))
    rejected = (p <= np.array(nominal_levels(0.2, looks, 1))).any(axis=1).mean()
    assert rejected == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 20_000))


@given(st.floats(1e-5, 1.0), looks_of, st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_levels_lie_between_the_union_bound_and_alpha(
    alpha: float, looks: tuple[int, ...], gamma: float
) -> None:
    levels, increments = solve_levels(alpha, looks, gamma), spending(alpha, looks, gamma)
    assert sum(increments) == pytest.approx(alpha)
    for level, increment in zip(levels, increments, strict=True):
        assert increment * (1 - 1e-9) <= level <= alpha + 1e-9


@given(st.floats(1e-5, 0.99), st.floats(0.3, 0.999), looks_of, st.sampled_from([1.0, 2.0]))
def test_less_alpha_means_lower_levels(
    alpha: float, share: float, looks: tuple[int, ...], gamma: float
) -> None:
    less, more = solve_levels(share * alpha, looks, gamma), solve_levels(alpha, looks, gamma)
    assert all(a < b for a, b in zip(less, more, strict=True))


@pytest.mark.slow
@given(st.floats(1e-9, 1.0), looks_of, st.sampled_from([1.0, 2.0]), st.data())
def test_alpha_of_inverts_the_levels(
    alpha: float, looks: tuple[int, ...], gamma: float, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(looks) - 1))
    p = solve_levels(alpha, looks, gamma)[index]
    assert alpha_of(p, index, looks, gamma) == pytest.approx(alpha, rel=1e-6)


def test_no_alpha_reaches_a_p_above_the_highest_level() -> None:
    highest = nominal_levels(1.0, (3, 4, 5), 2)
    assert highest[-1] == pytest.approx(1)
    for index in (0, 1):
        assert alpha_of(1.001 * highest[index], index, (3, 4, 5), 2) == math.inf
    assert alpha_of(0.0, 1, (3, 4, 5), 2) == 0
    assert alpha_of(1.0, 2, (3, 4, 5), 2) == 1
