from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.decide.resolve import ResolveRule
from orchestrator.decide.sequential import RESOLVE
from orchestrator.simulate.generator import Scenario
from orchestrator.simulate.methods import SimulatedDesign, pick, study_file
from orchestrator.simulate.planning import (
    POWER,
    Noise,
    expected_cost,
    noise_of,
    power_forecast,
    smallest_effect,
)
from orchestrator.simulate.series import Series, run

RULE = RESOLVE.on_seeds(study_file(SimulatedDesign(), "resolve"), 8)


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.mark.slow
def test_the_smallest_effect_is_found_as_often_as_stated() -> None:
    size = smallest_effect(Noise(1.0, 0.3), 8, 5, studies=300)
    assert size is not None
    truth = Scenario("one effect", (size, *(0.0,) * 7), (0.0,) * 8, 0.3)
    [grid] = run(Series(truth, SimulatedDesign(), 800, seed=4), pick(["grid"]))
    assert grid.power
    assert grid.power.value == pytest.approx(POWER, abs=0.05)

    def nominal(effect: float) -> float:
        """The power that the noncentral t promises at five seeds and eight arms."""
        df, se = 4 + 4, math.sqrt(2 * (1 - 0.3) / 5)
        return float(stats.nct.sf(stats.t.isf(0.05 / 8 / 2, df), df, effect / se))

    assert nominal(size / 1.15) < POWER < nominal(size)


def test_it_is_in_the_units_of_the_metric() -> None:
    one, ten = (smallest_effect(Noise(sd, 0.3), 4, 3, studies=20) for sd in (1.0, 10.0))
    assert one is not None
    assert ten == pytest.approx(10 * one)


@pytest.mark.slow
def test_more_seeds_and_shared_seeds_find_smaller_effects() -> None:
    sizes = [smallest_effect(Noise(1.0, 0.0), 8, seeds, studies=100) for seeds in (2, 3, 5, 8)]
    assert sizes == sorted(sizes, reverse=True)
    apart, shared = (smallest_effect(Noise(1.0, rho), 8, 5, studies=100) for rho in (0.0, 0.8))
    assert apart is not None
    assert shared is not None
    assert shared < 0.6 * apart
    assert smallest_effect(Noise(1.0), 8, 1) is None


@pytest.mark.slow
def test_expected_costs_of_the_assumptions() -> None:
    noise = Noise(0.5, 0.3)
    mixed, none = (expected_cost(RULE, 8, noise, effects, studies=120) for effects in ("mixed", "none"))
    assert mixed.share.value == pytest.approx(0.596, abs=0.03)
    assert none.share.value == pytest.approx(0.479, abs=0.03)
    assert mixed.runs == pytest.approx(mixed.share.value * 45)
    assert mixed.assumed == "effects of -12, -4, -2, -1, 0, 2 SDs"


def test_the_margin_is_in_the_units_of_the_metric() -> None:
    wide = ResolveRule((3, 4, 5), 5, margin=100.0)
    assert expected_cost(wide, 4, Noise(0.01), "none", studies=20).runs == 5 + 4 * 3
    narrow = ResolveRule((3, 4, 5), 5, margin=1e-6)
    assert expected_cost(narrow, 4, Noise(0.01), "none", studies=20).runs > 5 + 4 * 3


@pytest.mark.slow
def test_a_forecast_holds_everything() -> None:
    found = power_forecast(Noise(0.5, 0.3), 8, 5, margin=0.5, rule=RULE, studies=40)
    assert found.grid_runs == 45
    assert found.smallest_effect == pytest.approx(1.3, abs=0.2)
    assert found.seeds_for_margin is not None
    assert 20 <= found.seeds_for_margin <= 40
    assert [one.assumed for one in found.expected][1] == "no arm has an effect"
    assert power_forecast(Noise(0.5), 8, 5, studies=2).expected == ()


def test_effects_of_many_runs_are_found_when_smaller() -> None:
    """Main effects of a 2^3 design: 8 runs a seed make half the variance that 4 would."""
    signs = np.array([[(1 if run >> bit & 1 else -1) / 4 for run in range(8)] for bit in range(3)])
    crossed = power_forecast(Noise(1.0), 7, 4, margin=1.0, weights=signs, grid_runs=32, studies=200)
    simple = power_forecast(Noise(1.0), 3, 4, margin=1.0, studies=200)
    assert (crossed.effects, crossed.grid_runs) == (3, 32)
    assert crossed.smallest_effect < 0.55 * simple.smallest_effect  # sd / √(8/4) over sd · √2, and more df
    assert crossed.seeds_for_margin < simple.seeds_for_margin


def test_noise_is_what_the_arms_show() -> None:
    random = np.random.default_rng(3)
    shared = random.standard_normal(200)
    arms = {
        name: by_seed((2 * (np.sqrt(0.5) * shared + np.sqrt(0.5) * random.standard_normal(200))).tolist())
        for name in "abcd"
    }
    arms["unstable"] = by_seed((50 * random.standard_normal(200)).tolist())
    found = noise_of(arms.pop("a"), arms)
    assert found is not None
    assert found.sd == pytest.approx(2, rel=0.1)
    assert (found.arms, found.seeds) == (5, 200)
    del arms["unstable"]
    again = noise_of(by_seed([arms["b"][seed] + 1 for seed in range(200)]), arms)
    assert again is not None
    assert 0.4 < again.rho < 0.8


def test_a_typical_sd_is_right_at_three_seeds_too() -> None:
    random = np.random.default_rng(5)

    def three() -> dict[int, float]:
        return by_seed(random.standard_normal(3).tolist())

    found = [noise_of(three(), {str(arm): three() for arm in range(8)}) for _ in range(200)]
    assert np.median([one.sd for one in found if one]) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("reference", [{}, {0: 1.0}, {0: 0.1, 1: 0.1, 2: 0.1}, {0: float("nan"), 1: 1.0}])
def test_without_two_seeds_that_differ_there_is_no_noise(reference: dict[int, float]) -> None:
    assert noise_of(reference, {"no-a": dict(reference)}) is None
