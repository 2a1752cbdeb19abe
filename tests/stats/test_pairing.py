from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.stats.pairing import Pairing, pairing


def sample(rho: float, arms: int = 5, seeds: int = 4000):  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    shared = random.standard_normal(seeds)
    rows = [
        3.0 * i + math.sqrt(rho) * shared + math.sqrt(1 - rho) * random.standard_normal(seeds)
        for i in range(arms)
    ]
    first, *others = [dict(enumerate(row)) for row in rows]
    return first, {f"arm{i}": row for i, row in enumerate(others)}


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
def test_the_correlation_is_recovered(rho: float) -> None:
    found = pairing(*sample(rho))
    assert found.rho == pytest.approx(rho, abs=0.03)
    assert found.variance_saved == pytest.approx(rho, abs=0.03)


def test_by_hand() -> None:
    # arms differ by a constant: the seeds explain everything
    assert pairing({0: 1.0, 1: 2.0}, {"x": {0: 3.0, 1: 4.0}}) == Pairing(1.0, 1.0, 2, 2)
    opposite = pairing({0: 1.0, 1: 2.0}, {"x": {0: 4.0, 1: 3.0}})
    assert opposite.rho == pytest.approx(-1)
    assert opposite.variance_saved == pytest.approx(-1)


@pytest.mark.parametrize(
    ("reference", "arms"),
    [
        ({}, {}),
        ({0: 1.0, 1: 2.0}, {}),
        ({0: 1.0}, {"x": {0: 2.0}}),
        ({}, {"x": {0: 1.0}, "y": {0: 2.0, 1: 3.0}}),
    ],
)
def test_too_little_data_is_not_guessed(reference, arms) -> None:  # type: ignore[no-untyped-def]
    found = pairing(reference, arms)
    assert (found.rho, found.variance_saved) == (None, None)


def test_constant_values_have_no_correlation() -> None:
    assert pairing({0: 1.0, 1: 1.0}, {"x": {0: 1.0, 1: 1.0}, "y": {}}) == Pairing(None, None, 2, 2)
