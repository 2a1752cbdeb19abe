"""The chance that more seeds decide something: at a look of a sequential test, and before a study begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from orchestrator.stats.moderated import critical_t

Floats = NDArray[np.float64]

MOST_SEEDS = 1000
_ENOUGH = 0.8


@dataclass(frozen=True)
class Question:
    """What a test asks: two-sided `level` for a difference, and for equivalence within ±`margin` (or None).

    Equivalence is two one-sided tests, each at half of `level_equivalent`.
    """

    level: float
    level_equivalent: float | None = None
    margin: float | None = None

    def answered(self, d: float, spread: float, se: float, df: float) -> float:
        """Chance of either answer when the mean to come is normal around `d` with SD `spread`.

        `se` and `df` are those that the test will have.
        """
        beyond, within = self.bounds(se, df)
        return float(_chance(d, spread, beyond, None if self.margin is None else within))

    def bounds(self, se: float, df: float) -> tuple[float, float]:
        """Return the size beyond which a mean differs, and that below which it is equivalent (−∞: none)."""
        beyond = critical_t(self.level, df) * se
        if self.margin is None or self.level_equivalent is None:
            return beyond, -math.inf
        return beyond, self.margin - critical_t(self.level_equivalent, df) * se


def _chance(
    d: Floats | float, spread: Floats | float, beyond: Floats | float, within: Floats | float | None
) -> Floats:
    """Chance that a mean, normal around `d`, is beyond ±`beyond` or within ±`within` (None: nowhere)."""
    with np.errstate(over="ignore"):
        different = ndtr((d - beyond) / spread) + ndtr((-beyond - d) / spread)
        if within is None:
            return np.asarray(different)
        equivalent = ndtr((within - d) / spread) - ndtr((-within - d) / spread)
    return np.asarray(different + np.maximum(0.0, equivalent))


def predictive_power(
    questions: Sequence[Question], d: Floats, v: Floats, df: Floats, n: Floats, more: Floats
) -> Floats:
    """Return the chance of each arm (rows) that each later look (columns) answers; NaN where none can say.

    The truth is taken to be the estimate: the mean at the later look is normal around `d` with variance
    v (1/n − 1/later). Without variance nothing changes any more: what n pairs left open stays open.

    Args:
        questions: of each later look.
        d, v, df, n: mean of an arm, its variance and degrees of freedom, its pairs; NaN where unknown.
        more: pairs that come until each later look, (arms, looks); not above 0: the look is none.
    """
    known = np.isfinite(d) & np.isfinite(v) & np.isfinite(df)
    asked = (more > 0) & known[:, None]
    power = np.where(asked, 0.0, np.nan)
    rows, columns = np.nonzero(asked & (v > 0)[:, None])
    d, v, df, n, more = d[rows], v[rows], df[rows], n[rows], more[rows, columns]
    se, df = np.sqrt(v / (n + more)), df + more
    bounds = [
        questions[c].bounds(*at) for c, *at in zip(columns.tolist(), se.tolist(), df.tolist(), strict=True)
    ]
    beyond, within = np.array(bounds).reshape(-1, 2).T
    equivalence = within if any(question.margin is not None for question in questions) else None
    power[rows, columns] = _chance(d, np.sqrt(v * (1 / n - 1 / (n + more))), beyond, equivalence)
    return power


def seeds_needed(question: Question, d: float, v: float, borrowed: float) -> int | None:
    """Seeds of a new study that looks once and answers with a chance of 0.8 when `d` and `v` are the truth.

    `borrowed`: degrees of freedom that the variance borrows from other arms. None above 1000 seeds.
    """
    if v <= 0:
        return None

    def enough(n: int) -> bool:
        se = math.sqrt(v / n)
        return question.answered(d, se, se, n - 1 + borrowed) >= _ENOUGH

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS  # the chance grows with n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def seeds_for_margin(
    margin: float, sd: float, rho: float = 0.0, *, arms: int = 1, alpha: float = 0.05, power: float = _ENOUGH
) -> int | None:
    """Seeds per arm after which an arm without effect is called equivalent within ±`margin` with that chance.

    `sd`: between the seeds of one arm, `rho`: correlation of two arms over their seeds, so that a difference
    has the variance 2 sd² (1 − rho). Two one-sided moderated tests at alpha / arms each, one look at a
    complete grid; the chance by the normal approximation, t quantiles for the bounds. None above 1000 seeds.
    """

    def enough(n: int) -> bool:
        own, se = n - 1, sd * math.sqrt(2 * (1 - rho) / n)
        df = own + min(3 if n == 2 else 4, arms * own - own)
        inner = margin - critical_t(2 * alpha / arms, df) * se
        return inner > 0 and 2 * _phi(inner / se) - 1 >= power

    return next((n for n in range(2, MOST_SEEDS + 1) if enough(n)), None)
