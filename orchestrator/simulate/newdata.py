"""Draws from the two-way model, and scores of 0 and 1: does the interval for new seeds and new data cover?

Every draw goes through `stats.newdata` as a study's scores do; the variance over seeds is each effect's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from orchestrator.stats.moderated import critical_t
from orchestrator.stats.newdata import sample_variance, widened

REST = 0.1
"""The share of the variance of a mean difference that belongs to neither seeds nor samples alone."""
LEVEL = 0.05
Draw = Callable[[np.random.Generator], tuple[NDArray[np.float64], float]]
"""Return differences (seeds × samples), and their expectation."""


@dataclass(frozen=True)
class Coverage:
    """Shares of draws whose interval holds the truth.

    `both`: for new seeds and new data; `formula`: after Satterthwaite alone; `seeds`: for new seeds alone;
    `width`: how many times as wide as that the first one is, at the median.
    """

    both: float
    formula: float
    seeds: float
    width: float


def two_way(seeds: int, samples: int, share: float) -> Draw:
    """Draw normal effects; of the variance that seeds and samples add, `share` is the samples'."""
    of_seeds, of_samples = (math.sqrt((1 - REST) * part) for part in (1 - share, share * samples))
    rest = math.sqrt(REST * seeds * samples)

    def draw(random: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        u = of_seeds * math.sqrt(seeds) * random.standard_normal((seeds, 1))
        w = of_samples * random.standard_normal(samples)
        return u + w + rest * random.standard_normal((seeds, samples)), 0.0

    return draw


def right_or_wrong(seeds: int, samples: int, of_seeds: float) -> Draw:
    """Draw scores of 0 and 1, about .9 and .85 of them 1: a sample is the harder for both arms, or for one.

    Args:
        of_seeds: SD of the models' skill over seeds, where that of the samples' difficulty is 1.
    """
    own, noise = 0.5, 0.7
    spread = math.sqrt(1 + own**2 + noise**2 + of_seeds**2)
    skills = 1.28 * spread, 1.04 * spread

    def draw(random: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        hard, scores = random.standard_normal(samples), []
        for skill in skills:
            u = of_seeds * random.standard_normal((seeds, 1))
            w = hard + own * random.standard_normal(samples)
            scores.append(skill + u + w + noise * random.standard_normal((seeds, samples)) > 0)
        return scores[1].astype(float) - scores[0], float(ndtr(1.04) - ndtr(1.28))

    return draw


def coverage(draw: Draw, draws: int, seed: int = 0) -> Coverage:
    """Measure how often the intervals of `draws` studies hold the truth; paired t over the seeds."""
    random = np.random.default_rng(seed)
    held, widths = np.zeros((draws, 3), dtype=bool), np.ones(draws)
    for index in range(draws):
        D, truth = draw(random)  # noqa: N806 - the notation of the field
        means = D.mean(axis=1)
        n = len(means)
        variance, found = float(means.var(ddof=1)) / n, sample_variance(D)
        assert found is not None
        alone = critical_t(LEVEL, n - 1) * math.sqrt(variance)
        formula = widened(variance, n - 1, found, LEVEL, 0.0)[0] if found.added else alone
        both = max(alone, formula)
        held[index] = abs(means.mean() - truth) <= np.array([both, formula, alone])
        widths[index] = both / alone if alone else 1.0
    both, formula, alone = map(float, held.mean(axis=0))
    return Coverage(both, formula, alone, float(np.median(widths)))
