"""What a study can find and would cost, before it begins: simulated with the tests that will judge it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from orchestrator.decide.resolve import ResolveRule, resolve
from orchestrator.simulate.generator import Scenario, scenario, study
from orchestrator.simulate.methods import differences
from orchestrator.simulate.metrics import Figure, mean
from orchestrator.stats.claims import finite
from orchestrator.stats.moderated import GRID, Variance, critical_t, estimate
from orchestrator.stats.pairing import pairing
from orchestrator.stats.power import seeds_for_margin

POWER = 0.8
"""The chance with which an effect is to be found."""

_WORK = 2400
"""Arms × studies of one simulation: 300 studies of eight arms, which take less than a second."""
_FEWEST, _MOST = 40, 300
_MIXED = (-2.0, 0.0, -1.0, 2.0, -4.0, 0.0, -12.0, 0.0)
"""The effects of scenario S1, in an order in which few arms are a fair sample of them."""
_MOST_RHO = 0.99
_ROUNDING = 1e-12
_SERIES = 0


@dataclass(frozen=True)
class Noise:
    """What seeds do. `sd`: of the metric between seeds of one arm; `rho`: correlation of two arms over them.

    `arms` and `seeds` that it was estimated from; 0 where it was stated.
    """

    sd: float
    rho: float = 0.0
    arms: int = 0
    seeds: int = 0


@dataclass(frozen=True)
class ExpectedCost:
    """Runs under the rule when the truth is `assumed`, and their share of the grid's runs."""

    assumed: str
    share: Figure
    runs: float
    studies: int


@dataclass(frozen=True)
class PowerForecast:
    """What a study with that noise can find, in the metric's units.

    `smallest_effect`: what the whole grid finds with a chance of `power` where the other arms do nothing;
    `seeds_for_margin`: seeds after which an arm without effect is called equivalent within ±`margin` with
    that chance (None: more than can be counted); `expected`: runs under `resolve`, for each assumption.
    `effects`: how many are corrected together, one per arm beside the reference but for factorial designs.
    """

    noise: Noise
    arms: int
    effects: int
    seeds: int
    alpha: float
    power: float
    smallest_effect: float | None
    margin: float | None
    seeds_for_margin: int | None
    grid_runs: int
    expected: tuple[ExpectedCost, ...]


def noise_of(reference: Mapping[int, float], arms: Mapping[str, Mapping[int, float]]) -> Noise | None:
    """Return the noise that a study shows, from arm -> {seed: value}; None where no arm shows any.

    The SD is the typical one: the median over all arms of s²·ν / χ²(½; ν), so that one unstable arm does not
    count for all, and three seeds of a reference alone do not have to do.
    """
    values = (list(finite(one).values()) for one in (reference, *arms.values()))
    rows = [row for row in values if len(row) > 1]
    if not rows:
        return None
    typical = [len(row) * float(np.var(row)) / float(chdtri(len(row) - 1, 0.5)) for row in rows]
    sd = math.sqrt(float(np.median(typical)))
    rho = pairing(reference, arms).rho
    if not sd > _ROUNDING * max(abs(value) for row in rows for value in row):
        return None
    return Noise(sd, min(_MOST_RHO, max(0.0, rho or 0.0)), len(rows), max(map(len, rows)))


def power_forecast(
    noise: Noise,
    arms: int,
    seeds: int,
    *,
    alpha: float = 0.05,
    margin: float | None = None,
    variance: Variance = "moderated",
    rule: ResolveRule | None = None,
    weights: NDArray[np.float64] | None = None,
    grid_runs: int | None = None,
    studies: int | None = None,
) -> PowerForecast:
    """Return what `arms` arms beside the reference under `seeds` seeds can find, and what that would cost.

    Args:
        rule: the sequential rule, as registered; None where none applies (one seed, a factorial design).
        weights: of the effects, (effects, 1 + arms); by default every arm's difference from the reference.
        grid_runs: of the whole study; by default every arm under every seed.
        studies: how many are simulated; by default as many as about a second allows.
    """
    weights = differences(arms + 1) if weights is None else weights
    count = len(weights)
    # a contrast of many runs is as precise as a difference of two whose noise is this much smaller
    finer = math.sqrt(float(np.square(weights).sum(axis=1).max()) / 2)
    wanted: tuple[Literal["none", "mixed"], ...] = ("mixed", "none")
    expected = () if rule is None else (expected_cost(rule, arms, noise, e, studies=studies) for e in wanted)
    return PowerForecast(
        noise=noise,
        arms=arms,
        effects=count,
        seeds=seeds,
        alpha=alpha,
        power=POWER,
        smallest_effect=smallest_effect(noise, arms, seeds, alpha, variance, weights, studies),
        margin=margin,
        seeds_for_margin=None
        if margin is None
        else seeds_for_margin(margin, finer * noise.sd, noise.rho, arms=count, alpha=alpha, power=POWER),
        grid_runs=(arms + 1) * seeds if grid_runs is None else grid_runs,
        expected=tuple(expected),
    )


def smallest_effect(
    noise: Noise,
    arms: int,
    seeds: int,
    alpha: float = 0.05,
    variance: Variance = "moderated",
    weights: NDArray[np.float64] | None = None,
    studies: int | None = None,
) -> float | None:
    """Return the effect, in the metric's units, that a grid finds with a chance of `POWER`; None below two
    seeds.

    Holm's first step decides: p <= alpha / effects. The test's variance does not depend on the effect, so one
    simulation of studies without any tells the power for all sizes. (The noncentral t overstates it, by about
    .05 at five seeds: the moderated test never takes a variance that is smaller than the arm's own.)
    """
    if seeds < 2:
        return None
    truth = Scenario("none", (0.0,) * arms, (0.0,) * arms, noise.rho)
    weights = differences(arms + 1) if weights is None else weights
    needed: list[NDArray[np.float64]] = []
    for index in range(studies or _studies(arms)):
        found = estimate(study(truth, seeds, _SERIES, index).curves[:, :seeds, -1], weights, variance, GRID)
        bounds = np.array([critical_t(alpha / len(weights), df) for df in found.df.tolist()]) * found.se
        needed.append(bounds - found.mean)  # the size from which this arm would have been found
    return noise.sd * float(np.quantile(np.concatenate(needed), POWER))


def expected_cost(
    rule: ResolveRule,
    arms: int,
    noise: Noise,
    effects: Literal["none", "mixed"],
    *,
    studies: int | None = None,
) -> ExpectedCost:
    """Simulate the rule on studies of `arms` arms beside the reference.

    Args:
        rule: as registered; its margin in the metric's units.
        effects: `none`: no arm has an effect; `mixed`: those of scenario S1, in SDs between seeds.
    """
    truth, assumed = scenario("S2", arms, noise.rho), "no arm has an effect"
    if effects == "mixed":
        delta = tuple(_MIXED[index % len(_MIXED)] for index in range(arms))
        truth = Scenario("mixed", delta, (0.0,) * arms, noise.rho)
        assumed = f"effects of {', '.join(f'{size:g}' for size in sorted(set(delta)))} SDs"
    unit = rule if rule.margin is None else replace(rule, margin=rule.margin / noise.sd)
    most = max(rule.looks[-1], rule.seeds)
    runs = []
    for index in range(studies or _studies(arms)):
        curves = study(truth, most, _SERIES, index).curves[:, :most]
        course = resolve(unit, curves[:, :, -1], np.ones(curves.shape[:2], dtype=np.bool_), curves)
        runs.append(float(len(course.needed)))
    share = mean(np.array(runs) / ((arms + 1) * rule.seeds))
    return ExpectedCost(assumed, share, float(np.mean(runs)), len(runs))


def _studies(arms: int) -> int:
    return min(_MOST, max(_FEWEST, _WORK // arms))
