"""The specification's figures (eight arms, five seeds), simulated with its generator's final values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from orchestrator.decide.resolve import ResolveRule, resolve

S1 = np.array([0, 0, 0, 0, 2, -1, -2, -4, -12.0])
S2 = np.zeros(9)
SAVE = ResolveRule((3, 4, 5), 5)
REINVEST = ResolveRule((3, 4, 5, 6, 8, 10, 12), 5, gamma=1, goal="reinvest")


@dataclass
class Figures:
    """Shares: runs of the grid; studies with a false claim, a wrong sign; effects found; true intervals."""

    cost: float
    false: float
    wrong_sign: float
    power: float
    coverage: float


def simulate(rule: ResolveRule, effects: np.ndarray, studies: int) -> Figures:
    random = np.random.default_rng(1)
    truth, rho = effects[1:], 0.3
    rows = []
    for _ in range(studies):
        shared, own = random.normal(size=(1, 12)), random.normal(size=(9, 12))
        values = effects[:, None] + np.sqrt(rho) * shared + np.sqrt(1 - rho) * own
        course = resolve(rule, values, np.ones(values.shape, dtype=bool))
        looks = [course.final[row] for row in range(1, 9)]
        claimed = np.array([look.action == "different" for look in looks])
        means = np.array([look.mean for look in looks])
        held = np.mean([look.lo <= t <= look.hi for look, t in zip(looks, truth, strict=True)])  # type: ignore[operator]
        found = claimed[truth != 0].mean() if truth.any() else 0.0
        wrong = (claimed & (truth * means < 0)).any()
        rows.append((len(course.needed) / 45, (claimed & (truth == 0)).any(), wrong, found, held))
    return Figures(*np.array(rows, dtype=float).mean(axis=0))


@pytest.mark.long
@pytest.mark.slow
def test_saving() -> None:
    found, null = simulate(SAVE, S1, 1000), simulate(SAVE, S2, 1000)
    assert found.cost == pytest.approx(0.71, abs=0.02)
    assert found.power == pytest.approx(0.62, abs=0.04)
    assert found.wrong_sign <= 0.005
    assert null.false == pytest.approx(0.018, abs=0.012)
    assert min(found.coverage, null.coverage) >= 0.95


@pytest.mark.long
@pytest.mark.slow
def test_reinvesting() -> None:
    found, null = simulate(REINVEST, S1, 1000), simulate(REINVEST, S2, 1000)
    assert found.cost == pytest.approx(0.98, abs=0.02)
    assert found.power == pytest.approx(0.74, abs=0.05)
    assert found.wrong_sign <= 0.005
    assert null.false <= 0.03
    assert min(found.coverage, null.coverage) >= 0.95
