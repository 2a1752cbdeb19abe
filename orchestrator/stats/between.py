"""How two estimates of the same effect differ: two studies, two commits, fixed against retuned settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from orchestrator.stats.results import Effect

_ROUNDING = 1e-9
_FEWEST_PAIRS = 3  # below, pairing costs more degrees of freedom than it can give back


@dataclass(frozen=True)
class Gap:
    """`delta` = second − first, with its two-sided interval at level 1 − α, not corrected for many.

    `method`: "paired" over the `n` seeds that both have, "Welch" (shared seeds are not used; conservative
    where they are positively correlated), or "none" where there is no interval.
    """

    delta: float
    lo: float | None
    hi: float | None
    df: float | None
    n: int
    method: Literal["paired", "Welch", "none"]


def gap(
    first: Effect,
    second: Effect,
    alpha: float,
    first_by_seed: Mapping[int, float] | None = None,
    second_by_seed: Mapping[int, float] | None = None,
) -> Gap | None:
    """Return the difference of two Δ; None where one of them is missing.

    `first_by_seed`, `second_by_seed`: the D of each, seed -> value. Where at least three seeds are in both
    the differences are paired by seed (t with n − 1 degrees of freedom; no interval where all are equal);
    otherwise Welch's interval from both standard errors, with Satterthwaite's degrees of freedom.
    """
    if first.delta is None or second.delta is None:
        return None
    ours, theirs = first_by_seed or {}, second_by_seed or {}
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) >= _FEWEST_PAIRS:
        E = np.array([theirs[seed] - ours[seed] for seed in seeds])  # noqa: N806 - like D
        mean, se = float(E.mean()), float(E.std(ddof=1)) / math.sqrt(len(seeds))
        if se <= _ROUNDING * max(abs(D) for D in (*ours.values(), *theirs.values())):
            return Gap(mean, None, None, None, len(seeds), "none")  # equal by chance, as in `moderated`
        return _interval(mean, se, len(seeds) - 1, alpha, len(seeds), "paired")
    errors = [_error(effect) for effect in (first, second)]
    delta, n = second.delta - first.delta, min(first.n, second.n)
    (a, da), (b, db) = (error or (math.nan, math.nan) for error in errors)
    variance = a * a + b * b
    if not math.isfinite(variance):
        return Gap(delta, None, None, None, n, "none")
    spread = a**4 / da + b**4 / db
    return _interval(
        delta, math.sqrt(variance), variance**2 / spread if spread else math.inf, alpha, n, "Welch"
    )


def _error(effect: Effect) -> tuple[float, float] | None:
    """Return standard error of a Δ and its degrees of freedom: as tested, or plain."""
    if effect.se is not None and effect.df:
        return effect.se, effect.df
    if effect.sd is not None and effect.n > 1:
        return effect.sd / math.sqrt(effect.n), effect.n - 1
    return None


def _interval(
    delta: float, se: float, df: float, alpha: float, n: int, method: Literal["paired", "Welch"]
) -> Gap:
    half = float(stdtrit(min(df, 1e9), 1 - alpha / 2)) * se
    return Gap(delta, delta - half, delta + half, df if math.isfinite(df) else None, n, method)
