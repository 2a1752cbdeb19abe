"""The chance that more seeds decide something: at a look of a sequential test, and before a study begins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.stats.moderated import critical_t

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
