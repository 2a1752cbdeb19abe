from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.simulate.generator import (
    MOST_SEEDS,
    RUNGS,
    SCENARIOS,
    Scenario,
    generate,
    scenario,
    study,
)


def many(truth: Scenario, studies: int = 4000) -> np.ndarray:
    """Curves of studies of two seeds each, drawn at once: no two seeds share anything."""
    drawn = generate(truth, 2 * studies, np.random.default_rng(1))
    return drawn.reshape(-1, studies, 2, len(RUNGS)).swapaxes(0, 1)


def test_the_mean_curve_is_the_one_specified() -> None:
    truth = scenario("S1")
    seen = many(truth).mean(axis=(0, 2))
    r = np.array(RUNGS)
    for row, (delta, beta) in enumerate(zip((0, *truth.delta), (0, *truth.beta), strict=True)):
        assert seen[row] == pytest.approx(delta - (8 + beta) * (r**-0.5 - 1), abs=0.15)


def test_noise_grows_towards_short_runs_and_is_shared_within_a_seed() -> None:
    Y = many(scenario("S2", rho=0.3))
    noise = Y - Y.mean(axis=(0, 2), keepdims=True)
    for rung, r in enumerate(RUNGS):
        assert noise[..., rung].std() == pytest.approx(r**-0.25, rel=0.02)
    final = noise[..., -1]
    assert np.corrcoef(final[:, 1, 0], final[:, 4, 0])[0, 1] == pytest.approx(0.3, abs=0.05)
    assert np.corrcoef(final[:, 1, 0], final[:, 1, 1])[0, 1] == pytest.approx(0, abs=0.05)
    between_rungs = np.corrcoef(noise.reshape(-1, len(RUNGS)).T)
    lags = np.abs(np.subtract.outer(range(len(RUNGS)), range(len(RUNGS))))
    assert between_rungs == pytest.approx(0.6**lags, abs=0.02)


def test_a_noisy_arm_is_as_noisy_as_stated() -> None:
    final = many(scenario("S2", noisy=(2, 3.0)))[..., -1]
    assert final[:, 1:3].std(axis=(0, 2)) == pytest.approx([3, 3], rel=0.05)
    assert final[:, [0, 3, 8]].std(axis=(0, 2)) == pytest.approx([1, 1, 1], rel=0.05)


def test_what_nobody_planned_for_is_as_stated() -> None:
    def final(name: str) -> np.ndarray:
        return many(scenario(name))[:, :, 0, -1]

    assert final("baseline-x3").std(axis=0)[:2] == pytest.approx([3, 1], rel=0.05)
    alike = np.corrcoef(final("share-95-50").T)
    assert (alike[0, 1], alike[1, 2]) == pytest.approx((0.5, 0.95), abs=0.03)
    reference = final("falls")[:, 0]
    assert (reference < -2.5).mean() == pytest.approx(0.2, abs=0.03)
    assert reference.mean() == pytest.approx(-1, abs=0.1)
    assert final("falls-mean")[:, 0].mean() == pytest.approx(0, abs=0.1)
    losses = scenario("losses")
    assert final("losses").std(axis=0)[1:] == pytest.approx(losses.sd, rel=0.05)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_that_differ_in_noise_only_have_the_same_draws(name: str) -> None:
    truth, plain = scenario(name, arms=11), scenario("S2", arms=11)
    assert truth.name == name
    assert len(truth.sd) in (0, 11)
    if not truth.falls[0] and truth.shared is None and truth.delta == plain.delta:
        quiet = study(replace(truth, reference_sd=1.0, sd=()), 5, 0, 3).curves
        np.testing.assert_array_equal(quiet, study(plain, 5, 0, 3).curves)


def test_further_seeds_do_not_change_the_first_ones() -> None:
    few, more = (study(scenario("S1"), seeds, seed=3, index=7) for seeds in (5, 40))
    assert few.curves.shape == (9, MOST_SEEDS, len(RUNGS))
    assert more.curves.shape == (9, 40, len(RUNGS))
    np.testing.assert_array_equal(few.curves, more.curves[:, :MOST_SEEDS])
    np.testing.assert_array_equal(few.pace, more.pace[:, :MOST_SEEDS])


def test_studies_of_a_series_differ_and_are_the_same_again() -> None:
    truth = scenario("S1", arms=3)
    np.testing.assert_array_equal(study(truth, 5, 0, 1).curves, study(truth, 5, 0, 1).curves)
    assert not np.array_equal(study(truth, 5, 0, 1).curves, study(truth, 5, 0, 2).curves)
    assert not np.array_equal(study(truth, 5, 0, 1).curves, study(truth, 5, 1, 1).curves)


def test_more_than_eight_arms_repeat_the_eight() -> None:
    truth = scenario("S1", arms=11)
    assert truth.arms == 11
    assert truth.delta[8:] == truth.delta[:3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scenario("S3"), "valid: S1, S2"),
        (lambda: scenario("share-80-30", rho=0.9), "at least rho = 0.9"),
        (lambda: scenario("S1", arms=0), "at least one arm"),
        (lambda: scenario("S1", rho=1.0), "correlation"),
        (lambda: Scenario("mine", (0.0,), ()), "one beta"),
    ],
)
def test_what_no_study_can_be(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
