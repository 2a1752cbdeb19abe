"""The second interval of an effect: for new seeds and new data, from the scores of single samples.

Where the samples are the same under every seed, their differences follow a two-way model of random effects,
D_sj = Δ + u_s + w_j + e_sj, with n seeds s and m samples j. The variance over seeds has u and e in it; what w
adds is estimated by analysis of variance (Searle, Casella and McCulloch 1992, ch. 4). The mean squares of the
samples and of the rest, MS_w and MS_e, give σ²_w = max(0, (MS_w − MS_e)/n), and

    Var(Δ) = v/n + σ²_w/m

has degrees of freedom after Satterthwaite (1946). His formula alone is too bold at two and three seeds: where
the variance over seeds comes out small by chance, it takes the many samples for its degrees of freedom, and
two seeds cover .87 (docs/statistics.md). So the interval is never narrower than the one for new seeds alone,
which it has to contain anyway. v is the variance that the effect was tested with, so both borrow alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from orchestrator.stats.moderated import critical_t
from orchestrator.stats.results import Effect

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SampleVariance:
    """What the samples add to the variance of a mean difference.

    `added`: σ²_w/m; `spread`: the estimated variance of `added`, for the degrees of freedom.
    """

    samples: int
    seeds: int
    added: float
    spread: float


@dataclass(frozen=True)
class NewData:
    """The interval of an effect for new seeds and new data, of the level that its first interval has."""

    lo: float
    hi: float
    se: float
    df: float
    samples: int

    @property
    def holds_zero(self) -> bool:
        """Whether an effect of zero is inside."""
        return self.lo <= 0 <= self.hi


def sample_variance(differences: Iterable[Floats]) -> SampleVariance | None:
    """Estimate what the samples add; None below two seeds or two samples.

    Args:
        differences: for each seed the paired values of all samples, [m], the samples in the same order. They
            are read once, one seed at a time.
    """
    n, total, squares = 0, np.zeros(0), 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # a score may be any number
        for values in differences:
            centred = values - values.mean()
            total = total + centred if n else centred
            squares += float(centred @ centred)
            n += 1
        m = len(total)
        if n < 2 or m < 2:
            return None
        between = float(total @ total) / n  # sum of squares of the samples
        mean_square, rest = between / (m - 1), max(0.0, squares - between) / ((n - 1) * (m - 1))
        added = max(0.0, mean_square - rest) / (n * m)
        spread = (mean_square**2 + rest**2 / (n - 1)) / (m - 1) / (n * m) ** 2
    return SampleVariance(m, n, added, spread) if math.isfinite(added + spread) else None


def for_new_data(effect: Effect, found: SampleVariance) -> NewData | None:
    """Return the second interval of an effect; None where it has no first one."""
    lo, hi, se, df = effect.lo, effect.hi, effect.se, effect.df
    if lo is None or hi is None or not se or not df:
        return None
    half, middle = (hi - lo) / 2, (hi + lo) / 2
    level = 2 * float(stdtr(df, -half / se))
    wide, variance, freedom = widened(se**2, df, found, level, half)
    return NewData(middle - wide, middle + wide, math.sqrt(variance), freedom, found.samples)


def widened(
    variance: float, df: float, found: SampleVariance, level: float, least: float
) -> tuple[float, float, float]:
    """Return half the interval, its variance and its degrees of freedom.

    Args:
        variance: of the mean difference over seeds, v/n, with `df` degrees of freedom.
        level: of the interval, two-sided.
        least: half the interval for new seeds alone.
    """
    if not found.added:
        return least, variance, df
    both = variance + found.added
    freedom = both**2 / (variance**2 / df + found.spread)
    return max(least, critical_t(level, freedom) * math.sqrt(both)), both, freedom
