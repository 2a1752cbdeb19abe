"""What a study would cost under the sequential rule, before it begins: simulated for a stated truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from orchestrator.decide.resolve import ResolveRule, resolve
from orchestrator.simulate.generator import Scenario, scenario, study
from orchestrator.simulate.metrics import Figure, mean

Effects = Literal["none", "mixed"]

_WORK = 2000
"""Arms × studies of one forecast: 250 studies of eight arms, which takes about a second."""
_FEWEST, _MOST = 40, 400


@dataclass(frozen=True)
class ExpectedCost:
    """Runs under the rule when the truth is `assumed`, and their share of the grid's runs."""

    assumed: str
    share: Figure
    runs: float
    grid: int
    studies: int


def expected_cost(
    rule: ResolveRule,
    arms: int,
    *,
    sd: float = 1.0,
    rho: float = 0.0,
    effects: Effects | float = "mixed",
    seed: int = 0,
) -> ExpectedCost:
    """Simulate the rule on studies of `arms` arms besides the reference.

    Args:
        rule: as registered; its margin in the metric's units. sd: SD of the metric between seeds of one arm,
        in the metric's units; rho: correlation of arms over a seed. effects: `none`: no arm has an effect;
        `mixed`: as in scenario S1, in units of `sd`; a number: every arm
            has an effect of this size, in the metric's units.

    Raises:
        ValueError: sd is not above 0, or there is no arm.
    """
    if not sd > 0:
        raise ValueError(f"the SD between seeds must be above 0, got {sd}")
    truth, assumed = _truth(effects, arms, sd, rho)
    unit = rule if rule.margin is None else replace(rule, margin=rule.margin / sd)
    most = max(rule.looks[-1], rule.seeds)
    grid = (arms + 1) * rule.seeds
    studies = min(_MOST, max(_FEWEST, _WORK // arms))
    ended = np.ones((arms + 1, most), dtype=np.bool_)
    runs = np.array(
        [
            len(resolve(unit, study(truth, most, seed, index).curves[:, :most, -1], ended).needed)
            for index in range(studies)
        ],
        dtype=np.float64,
    )
    share = mean(runs / grid)
    return ExpectedCost(assumed, share, share.value * grid, grid, studies)


def _truth(effects: Effects | float, arms: int, sd: float, rho: float) -> tuple[Scenario, str]:
    if effects == "none":
        return scenario("S2", arms, rho), "no arm has an effect"
    if effects == "mixed":
        truth = scenario("S1", arms, rho)
        sizes = ", ".join(f"{size:g}" for size in sorted(set(truth.delta)))
        return truth, f"effects of {sizes} SDs"
    size = float(effects)
    return Scenario("given", (size / sd,) * arms, (0.0,) * arms, rho), f"every arm has an effect of {size:g}"
