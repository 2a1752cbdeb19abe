"""The moderated paired t-test: at few seeds an arm's variance borrows strength from the other arms.

After Smyth 2004 (moderated t), with two changes for a handful of unequal arms: what is borrowed is the
residual variance of the additive fit over all runs, and an unusually noisy arm is kept out of the pool and
stands alone. Legend: Y (arms × seeds) values, W (contrasts × arms) weights, D = W·Y (contrasts × seeds)
paired values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, stdtr, stdtrit

Floats = NDArray[np.float64]
Variance = Literal["moderated", "per_arm"]

# differences of numbers that agree to this many units in the last place are rounding, not variance
_ROUNDING = 8 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class Pooling:
    """How much a test borrows from the other arms: what versions of the sequential rule differ in.

    `borrow`: most degrees of freedom with two pairs, with three, ..., the last also with more; `arms_own`:
    the pool is no smaller than the arms' own variances on average, which sees a reference that is noisier
    than the arms; `reuse`: weight of the seeds that the reference has beyond an arm's (`further_seeds`);
    `curves`: (rungs, degrees of freedom of a variance averaged over so many, per degree at one rung), by
    which arms are flagged along their curves too.
    """

    borrow: tuple[float, ...] = (3.0, 4.0)
    arms_own: bool = False
    reuse: float = 0.0
    curves: tuple[tuple[int, float], ...] = ()

    def most(self, n: NDArray[np.int64]) -> Floats:
        """Return the most degrees of freedom that tests of so many pairs may borrow."""
        return np.array(self.borrow)[np.clip(n - 2, 0, len(self.borrow) - 1)]


FIRST = Pooling()
GRID = Pooling(arms_own=True)
"""What a test that looks once, after all seeds, borrows since its second version."""


@dataclass(frozen=True)
class Estimates:
    """What the pairs say about each contrast; arrays have one element per contrast.

    `D`, `paired`: (contrasts, seeds), the paired values, NaN where not `paired`; `n` of them, with `mean` and
    sample variance `s2` (NaN below two); `v`, `df`: the variance that the test uses (0 up to rounding) and
    its degrees of freedom; `of_mean`: the variance of `mean`; `pool`: what v has borrowed from (NaN: nothing
    to borrow from); `flagged`: so noisy that its variance stands alone; `rounding`: what a difference owes to
    floating point.
    """

    D: Floats
    paired: NDArray[np.bool_]
    n: NDArray[np.int64]
    mean: Floats
    s2: Floats
    v: Floats
    df: Floats
    of_mean: Floats
    pool: Floats
    flagged: NDArray[np.bool_]
    rounding: Floats

    @property
    def se(self) -> Floats:
        """Standard errors of the means."""
        with np.errstate(invalid="ignore"):
            return np.sqrt(self.of_mean)

    @property
    def testable(self) -> NDArray[np.bool_]:
        """Two pairs at least, with some variance, and numbers that did not overflow.

        Equal differences are what a coarse metric gives by chance: two of eight arms' pairs at random are
        equal in a quarter of studies when the metric's steps are a quarter of the SD. They prove nothing.
        """
        return np.isfinite(self.v) & np.isfinite(self.mean) & ~self.exact

    @property
    def exact(self) -> NDArray[np.bool_]:
        """All pairs differ by the same amount, up to rounding: no variance to test against."""
        return np.equal(self.v, 0)

    @property
    def unchanged(self) -> NDArray[np.bool_]:
        """Every pair is equal, up to rounding: the change changed nothing that can be seen."""
        return self.exact & (np.abs(self.mean) <= self.rounding)

    @property
    def p(self) -> Floats:
        """Two-sided p-values of a mean of zero; NaN where not testable."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            p = 2 * stdtr(self.df, -np.abs(self.mean) / self.se)
        return np.where(self.testable, p, np.nan)

    def p_equivalent(self, margin: float) -> Floats:
        """Return the larger of the two one-sided p-values of |Δ| >= margin (TOST); NaN where not testable."""
        room = margin - np.abs(self.mean)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            p = stdtr(self.df, -room / self.se)
        return np.where(self.testable, p, np.nan)

    def half_width(self, levels: float | Floats) -> Floats:
        """Half the two-sided interval at each level; NaN where not testable."""
        with np.errstate(invalid="ignore", over="ignore"):
            half = -stdtrit(self.df, np.asarray(levels) / 2) * self.se
        return np.where(self.testable, half, np.nan)


@lru_cache(maxsize=65536)
def critical_t(level: float, df: float) -> float:
    """Return the |t| that a two-sided test at `level` asks for."""
    return -float(stdtrit(df, level / 2))


def _chi2(df: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Median and 99th percentile of χ² with so many degrees of freedom, from 0 (NaN)."""
    half, high = _chi2_up_to(1 << int(df.max(initial=0)).bit_length())
    return half[df], high[df]


@lru_cache(maxsize=32)
def _chi2_up_to(most: int) -> tuple[Floats, Floats]:
    df = np.arange(most + 1.0)
    df[0] = np.nan
    return chdtri(df, 0.5), chdtri(df, 0.01)


def estimate(
    Y: Floats,  # noqa: N803
    W: Floats,  # noqa: N803
    variance: Variance = "moderated",
    pooling: Pooling = FIRST,
    curves: Floats | None = None,
) -> Estimates:
    """Estimate every contrast from the seeds for which all of its arms have a finite value.

    Args:
        Y: (arms, seeds), NaN where there is no value.
        W: (contrasts, arms); the weights of a contrast, as in `study.designs.contrasts`.
        variance: `per_arm` pools nothing: plain paired t-tests.
        pooling: what is borrowed from whom.
        curves: (arms, seeds, rungs), values at the rungs, the end included, for `pooling.curves`.
    """
    present = np.isfinite(Y)
    values = np.where(present, Y, 0.0)
    used = W != 0
    paired = (used.astype(float) @ ~present) == 0
    n = paired.sum(axis=1)
    largest = np.where(used, np.abs(values).max(axis=1, initial=0.0), 0.0).max(axis=1, initial=0.0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        D = np.where(paired, W @ values, np.nan)  # noqa: N806 - the notation of the field
        mean = np.where(paired, D, 0.0).sum(axis=1) / n
        deviations = np.where(paired, D - mean[:, None], 0.0)
        s2 = np.where(n > 1, np.square(deviations).sum(axis=1) / (n - 1), np.nan)
        rounding = _ROUNDING * largest * np.abs(W).sum(axis=1) / 2
        v = np.where(np.sqrt(s2) <= rounding, 0.0, s2)
        of_mean = v / n
    plain = Estimates(
        D=D,
        paired=paired,
        n=n,
        mean=mean,
        s2=s2,
        v=v,
        df=np.maximum(n - 1, 0).astype(float),
        of_mean=of_mean,
        pool=np.full(n.shape, np.nan),
        flagged=np.zeros(n.shape, dtype=bool),
        rounding=rounding,
    )
    if variance == "per_arm":
        return plain
    flagged = _noisy(plain, np.square(W).sum(axis=1))
    if pooling.curves and curves is not None:
        flagged |= noisy_along_curves(paired, W, curves, dict(pooling.curves), rounding)
    return _moderate(plain, np.where(present, Y, np.nan), W, flagged, pooling)


def _moderate(
    plain: Estimates,
    Y: Floats,  # noqa: N803
    W: Floats,  # noqa: N803
    flagged: NDArray[np.bool_],
    pooling: Pooling,
) -> Estimates:
    """Pool: the formulas for a contrast with Σ weights² = c; for a plain difference c = 2."""
    c = np.square(W).sum(axis=1)
    nu = plain.df
    with np.errstate(over="ignore", invalid="ignore"):
        keep = (W[~flagged] != 0).any(axis=0)
        s2e, dfe = additive_fit(Y[keep])
        pool = c * s2e
        if pooling.arms_own:
            quiet = ~flagged & (nu > 0)
            own = (nu * plain.s2 / c)[quiet].sum() / max(nu[quiet].sum(), 1.0)
            pool = np.fmax(pool, c * own)
        borrowed = _borrowed(plain.n, flagged, pooling)
        nu0 = np.where(flagged | (plain.n < 2), 0.0, np.minimum(borrowed, np.maximum(0.0, dfe - nu)))
        pooled = (nu * plain.s2 + nu0 * pool) / (nu + nu0)
        v = np.where(nu0 > 0, np.maximum(plain.s2, pooled), plain.s2)
        v = np.where(np.sqrt(v) <= plain.rounding, 0.0, v)
        of_mean = v / plain.n
    return replace(plain, v=v, df=nu + nu0, of_mean=of_mean, pool=pool, flagged=flagged)


def _borrowed(n: NDArray[np.int64], flagged: NDArray[np.bool_], pooling: Pooling) -> Floats:
    """Most degrees of freedom that a test may borrow.

    Where arms stand alone, the pool of the others has been selected to be quiet. With many arms that is
    harmless; with few it made tests too bold (three arms at n = 2, 3: family-wise error .07, .06, not .05).
    """
    borrowed = pooling.most(n)
    pooled = int((~flagged & (n > 1)).sum())
    if not flagged.any():
        return borrowed
    return np.where(n == 2, np.clip(pooled - 2, 0, 3), borrowed if pooled > 2 else 0.0)


def _noisy(plain: Estimates, c: Floats) -> NDArray[np.bool_]:
    """Contrasts whose variance is beyond the 99th percentile of what the typical variance makes plausible.

    Typical is the median; exactly equal pairs (coarse metrics) do not enter it, or every other contrast would
    stand out.
    """
    half, high = _chi2(np.maximum(plain.n - 1, 0))
    with np.errstate(over="ignore", invalid="ignore"):  # near the largest number there is
        sums = plain.df * plain.s2 / c
        varied = np.isfinite(sums) & (np.sqrt(plain.s2) > plain.rounding)
        typical = _median(sums[varied] / half[varied]) if varied.any() else math.inf
        flagged: NDArray[np.bool_] = (sums > high * typical) | (~np.isfinite(sums) & (plain.n > 1))
    return flagged


def noisy_along_curves(
    paired: NDArray[np.bool_],
    W: Floats,  # noqa: N803
    curves: Floats,
    per_df: Mapping[int, float],
    rounding: Floats,
) -> NDArray[np.bool_]:
    """Return which contrasts vary beyond the 99th percentile of what is plausible, along their curves.

    At a rung a variance is taken relative to the geometric mean over the contrasts, and averaged over the
    rungs. That is as good as one with more degrees of freedom: `per_df`, by the number of rungs. Left out
    are rungs that most contrasts lack, contrasts that lack another one, and rungs at which one of these has
    no variance.
    """
    n, finite = paired.sum(axis=1), np.isfinite(curves)
    whole = bool(finite.all())
    D = np.tensordot(W, curves if whole else np.where(finite, curves, 0.0), axes=1)  # noqa: N806 - see below
    seen, there = n > 1, np.ones(curves.shape[2], dtype=bool)
    if not whole:
        lacking = np.tensordot((W != 0).astype(float), (~finite).astype(float), axes=1)
        gaps: NDArray[np.bool_] = np.any((lacking > 0) & paired[:, :, None], axis=1)
        there = 2 * gaps[seen].sum(axis=0) <= seen.sum()
        seen = seen & ~gaps[:, there].any(axis=1)
    flagged: NDArray[np.bool_] = np.zeros(n.shape, dtype=bool)
    if not seen.any():
        return flagged
    D = D if whole else D[:, :, there]  # noqa: N806 - contrasts, seeds, rungs
    D, inside, count = D[seen], paired[seen][:, :, None], n[seen][:, None]  # noqa: N806
    means = np.where(inside, D, 0.0).sum(axis=1, keepdims=True) / count[:, :, None]
    centred = np.where(inside, D - means, 0.0)
    V = np.square(centred).sum(axis=1) / (count - 1)  # noqa: N806 - contrasts, rungs
    V = V[:, (np.sqrt(V) > rounding[seen][:, None]).all(axis=0)]  # noqa: N806
    if V.shape[1] not in per_df:
        return flagged
    relative = (V / np.exp(np.log(V).mean(axis=0))).mean(axis=1)
    df = np.maximum(1, np.rint((n[seen] - 1) * per_df[V.shape[1]])).astype(int)
    half, high = _chi2(df)
    flagged[seen] = relative > _median(relative) * high / half
    return flagged


def _median(values: Floats) -> float:
    """Return what `np.median` does, ten times as fast for a few numbers."""
    ordered = np.sort(values)
    low, high = float(ordered[(ordered.size - 1) // 2]), float(ordered[ordered.size // 2])
    return math.nan if math.isnan(ordered[-1]) else low if ordered.size % 2 else (low + high) / 2


def further_seeds(found: Estimates, Y: Floats, seen: Sequence[int], weight: float) -> Estimates:  # noqa: N803
    """Let estimates lean on the reference's seeds that an arm has not come to.

    Where the reference has m seeds beyond the n pairs of an arm, Δ is D̄ + g (its mean in the pairs − its mean
    in the others), g = weight · m / (n + m): the weight is fixed, so that nothing is chosen by the results.
    Seeds under which a run has failed are not among them: that they are missing is no accident. Where a row
    has come to one seed, that is Δ without a test.

    Args:
        found: estimates of the differences of rows 1, 2, ... of `Y` from row 0.
        Y: (1 + arms, seeds), NaN where there is no value.
        seen: the seeds that each row has come to.
        weight: from 0 (not at all) to 1.
    """
    columns, usable = np.arange(Y.shape[1]), np.isfinite(Y[0])
    further = usable & (columns >= np.array(seen[1:])[:, None])
    m = further.sum(axis=1)
    values = Y[np.concatenate([[True], ~found.flagged])] if found.flagged.any() else Y
    rows = np.isfinite(values)
    values, count = np.where(rows, values, 0.0), rows.sum(axis=1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        centred = np.where(rows, values - (values.sum(axis=1) / count)[:, None], 0.0)
        within = np.square(centred).sum() / max(int(np.maximum(count - 1, 0).sum()), 1)
        reference = np.where(usable, Y[0], 0.0)
        n, v = found.n, found.v
        difference = (found.paired * reference).sum(axis=1) / n - (further * reference).sum(axis=1) / m
        g = weight * m / (n + m)
        less = g * np.fmin(found.pool, v) / n
        of_mean = v / n - less + g * g * within * (1 / n + 1 / m)
    leans = (m > 0) & (found.testable | (np.array(seen[1:]) == 1)) & ~found.flagged
    return replace(
        found,
        mean=np.where(leans, found.mean + g * difference, found.mean),
        of_mean=np.where(leans, of_mean, found.of_mean),
    )


def spread(values: Floats) -> float:
    """Return the SD of several values: 0 where they agree up to rounding, NaN where one is missing."""
    with np.errstate(over="ignore", invalid="ignore"):
        sd = float(np.std(values, ddof=1))
    return 0.0 if sd <= _ROUNDING * float(np.abs(values).max()) else sd


def additive_fit(Y: Floats) -> tuple[float, int]:  # noqa: N803
    """Residual variance and degrees of freedom of Y = μ(arm) + b(seed) + e by least squares.

    Y: (arms, seeds), NaN where there is no value; ragged is fine. NaN and 0 without degrees of freedom.
    """
    present = np.isfinite(Y)
    arms = present.any(axis=1)
    Y, present = Y[arms], present[arms]  # noqa: N806
    if not Y.size:
        return math.nan, 0
    counts = present.sum(axis=1, keepdims=True)
    means = np.where(present, Y, 0.0).sum(axis=1, keepdims=True) / counts
    centred = np.where(present, Y - means, 0.0)
    if present.all():
        residual = centred - centred.mean(axis=0)
        df = (Y.shape[0] - 1) * (Y.shape[1] - 1)
    else:  # the arms' means are eliminated; what is left is a small system for the seeds
        weights = present.astype(float)
        system = np.diag(weights.sum(axis=0)) - weights.T @ (weights / counts)
        if not np.isfinite(centred).all():
            return math.nan, 0
        if present.all(axis=1).any():  # an arm with every seed connects them: one constant is free
            seeds, rank = np.linalg.solve(system + 1, centred.sum(axis=0)), len(system) - 1
        else:
            seeds, _, rank, _ = np.linalg.lstsq(system, centred.sum(axis=0), rcond=1e-9)
        residual = np.where(present, centred - seeds + (weights @ seeds)[:, None] / counts, 0.0)
        df = int(present.sum()) - Y.shape[0] - int(rank)
    s2e = float(np.square(residual).sum()) / df if df > 0 else math.nan
    return (s2e, df) if math.isfinite(s2e) else (math.nan, 0)
