"""The chance that more seeds decide something: at a look of a sequential test, and before a study begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import nctdtr

from orchestrator.stats.moderated import Variance, critical_t

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
        bound = critical_t(self.level, df) * se
        chance = _phi((d - bound) / spread) + _phi((-bound - d) / spread)
        if self.margin is not None and self.level_equivalent is not None:
            inner = self.margin - critical_t(self.level_equivalent, df) * se
            if inner > 0:
                chance += _phi((inner - d) / spread) - _phi((-inner - d) / spread)
        return chance


def predictive_power(question: Question, d: float, v: float, df: float, n: int, later: int) -> float:
    """Chance that the look at `later` pairs answers, after a mean of `d` over n < `later` of variance v.

    The truth is taken to be the estimate: the mean at the later look is normal around `d` with variance
    v (1/n − 1/later). Without variance nothing changes any more: what n pairs left open stays open.
    """
    if v <= 0:
        return 0.0
    spread = math.sqrt(v * (1 / n - 1 / later))
    return question.answered(d, spread, math.sqrt(v / later), df + later - n)


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


@dataclass(frozen=True)
class OneLook:
    """A study that looks once: `seeds` per arm, `arms` beside the reference, family-wise level `alpha`.

    Holm's first step decides: an effect is found when its p is at most alpha / arms. `variance` as in the
    study file; the moderated test's degrees of freedom are those of a complete grid.
    """

    seeds: int
    arms: int
    alpha: float = 0.05
    variance: Variance = "moderated"

    @property
    def df(self) -> float:
        """Degrees of freedom of one effect's test."""
        own = self.seeds - 1
        if self.variance == "per_arm":
            return own
        return own + min(3 if self.seeds == 2 else 4, self.arms * own - own)

    def power(self, effect: float, sd: float, rho: float = 0.0) -> float:
        """Chance to find one effect of that size; the other arms have none.

        `sd`: between the seeds of one arm, `rho`: correlation of two arms over their seeds, so that a
        difference has the variance 2 sd² (1 − rho). Noncentral t; 0 below two seeds.
        """
        if self.seeds < 2:
            return 0.0
        return _power(abs(effect) / _se(sd, rho, self.seeds), self.alpha / self.arms, self.df)

    def smallest_effect(self, sd: float, rho: float = 0.0, power: float = _ENOUGH) -> float | None:
        """Return the effect that is found with that chance; None below two seeds."""
        if self.seeds < 2:
            return None
        level = self.alpha / self.arms
        low, high = 0.0, critical_t(level, self.df) + 1.0
        while _power(high, level, self.df) < power:
            low, high = high, 2 * high
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if _power(middle, level, self.df) < power else (low, middle)
        return high * _se(sd, rho, self.seeds)


def seeds_for_margin(
    margin: float, sd: float, rho: float = 0.0, *, arms: int = 1, alpha: float = 0.05, power: float = _ENOUGH
) -> int | None:
    """Seeds per arm after which an arm without effect is called equivalent within ±`margin` with that chance.

    Two one-sided tests at alpha / arms each, one look; the chance by the normal approximation, t quantiles
    for the bounds. None above 1000 seeds.
    """

    def enough(n: int) -> bool:
        se = _se(sd, rho, n)
        inner = margin - critical_t(2 * alpha / arms, OneLook(n, arms, alpha).df) * se
        return inner > 0 and 2 * _phi(inner / se) - 1 >= power

    return next((n for n in range(2, MOST_SEEDS + 1) if enough(n)), None)


def _se(sd: float, rho: float, n: int) -> float:
    return sd * math.sqrt(2 * (1 - rho) / n)


def _power(shift: float, level: float, df: float) -> float:
    """Chance that a noncentral t is beyond the two-sided critical value."""
    bound = critical_t(level, df)
    # the wrong side is below Φ(−shift), and scipy has no number for it far out
    wrong_side = float(nctdtr(df, shift, -bound)) if shift < 5 else 0.0
    return 1 - float(nctdtr(df, shift, bound)) + wrong_side
