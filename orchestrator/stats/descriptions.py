"""What stands beside a test: how often, how large, by chance, and what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, gammaln, stdtr

from orchestrator.stats.results import Failures, Share

_FEWEST_FLIPPED = 6
_MOST_FLIPPED = 16
_DRAWS = 1 << 16
_SIGNS = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1


def wins(D: NDArray[np.float64], alpha: float) -> Share | None:  # noqa: N803 - the notation of the field
    """P(A > B) from the D that are not zero, with the Clopper-Pearson interval at 1 − α; None without any."""
    better = int((D > 0).sum())
    n = better + int((D < 0).sum())
    return Share(better / n, *clopper_pearson(better, n, alpha / 2), n) if n else None


def clopper_pearson(count: int, total: int, tail: float = (1 - 0.95) / 2) -> tuple[float, float]:
    """Return the exact interval of a share, for `count` of `total` >= 1; `tail`: the error on each side."""
    lo = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
    hi = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return lo, hi


def sign_flip_p(D: NDArray[np.float64]) -> float | None:  # noqa: N803
    """Two-sided p of the sign-flip permutation test of the mean; None below six pairs: it could not be small.

    All 2ⁿ flips up to n = 16; beyond, 65,536 random ones from a fixed seed, with the observed one among them.
    """
    return _sign_flip_p(tuple(D.tolist()))


@lru_cache(maxsize=4096)
def _sign_flip_p(differences: tuple[float, ...]) -> float | None:
    D = np.array(differences)  # noqa: N806
    n = D.size
    if n < _FEWEST_FLIPPED or not np.isfinite(D).all():
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        observed = abs(float(D.sum())) - 1e-12 * float(np.abs(D).sum())
        if n > _MOST_FLIPPED:
            return (1 + int((np.abs(_flipped(D)) >= observed).sum())) / (1 + _DRAWS)
        sums = D[:1]  # the first sign stays: the mirror image of every flip is as extreme
        for d in D[1:]:
            sums = np.concatenate([sums + d, sums - d])
        return float((np.abs(sums) >= observed).mean())


def _flipped(D: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
    """Return the sums of D under the random flips: eight differences have 256 sums, and a byte picks one."""
    bytes_ = _flips(D.size)
    eights = np.zeros((len(bytes_), 8))
    eights.flat[: D.size] = D
    sums: NDArray[np.float64] = np.zeros(_DRAWS)
    for of_byte, byte in zip(eights @ _SIGNS.T, bytes_, strict=True):
        sums += of_byte[byte]
    return sums


@lru_cache(maxsize=16)
def _flips(n: int) -> NDArray[np.uint8]:
    """Return random flips of n differences as bits, (bytes, draws)."""
    bits = np.random.default_rng(0).integers(0, 2, size=(_DRAWS, n))
    return np.ascontiguousarray(np.packbits(bits.astype(bool), axis=1).T)


def hedges_g(mean: float, sd: float, n: int) -> float | None:
    """Mean over SD of the D, corrected for small n (Hedges 1981); None below three pairs and for equal D."""
    df = n - 1
    if df < 2 or not 0 < sd < math.inf:
        return None
    correction = math.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    return mean / sd * correction


def compare_failures(arm: tuple[int, int] | None, reference: tuple[int, int] | None) -> Failures | None:
    """Failed runs of an arm beside the reference's, each (failed, runs), with Fisher's exact test, two-sided.

    None where the runs of either are not known; without runs there is no p.
    """
    if arm is None or reference is None:
        return None
    (failed, runs), (other, other_runs) = arm, reference
    total, together = runs + other_runs, failed + other
    p = None
    if runs and other_runs:
        ways = {
            x: math.comb(runs, x) * math.comb(other_runs, together - x)
            for x in range(max(0, together - other_runs), min(runs, together) + 1)
        }
        p = sum(count for count in ways.values() if count <= ways[failed]) / math.comb(total, together)
    return Failures(failed, runs, other, other_runs, p)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    """Spearman's ρ of finite numbers, and its two-sided p by the t approximation; None without spread."""
    a, b = (_ranks(np.asarray(values, dtype=float)) for values in (x, y))
    n = a.size
    if n < 3 or not a.std() or not b.std():
        return None
    rho = float(np.corrcoef(a, b)[0, 1])
    rest = 1 - rho * rho
    return rho, 0.0 if rest <= 1e-12 else 2 * float(stdtr(n - 2, -abs(rho) * math.sqrt((n - 2) / rest)))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks, those of equal values being their mean."""
    less = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    ranks: NDArray[np.float64] = less + (equal - 1) / 2
    return ranks
