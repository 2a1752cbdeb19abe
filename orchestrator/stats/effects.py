"""The effect of every arm against the reference, from pairs that share a seed.

Legend: Y is a metric value in the user's units, D = Y(arm) − Y(reference) for one seed, Δ the mean of the D.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from orchestrator.stats.holm import holm

Mode = Literal["max", "min"]
NO_DATA = "no data"
UNRESOLVED = "unresolved"
HURTS = "hurts"
HELPS = "helps"

# differences of numbers that agree to this many units in the last place are rounding, not variance
_ROUNDING = 8 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class Effect:
    """Δ of one arm with what may be said about it; everything in the metric's own units.

    `lo` < `hi` is the two-sided interval of this arm alone at level 1 − α (None where there is none); `p`
    belongs to it, `p_holm` holds over all arms of the study. `seeds` are the pairs that entered, `n` of them;
    `sd` is the standard deviation of the D. `flags` name what a reader must know besides.
    """

    arm: str
    kind: str
    reference: str
    n: int
    delta: float | None
    lo: float | None
    hi: float | None
    p: float | None
    p_holm: float | None
    method: str
    verdict: str
    seeds: tuple[int, ...]
    sd: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """The finished runs of one arm: how many, their mean and standard deviation (None below two)."""

    arm: str
    n: int
    mean: float | None
    sd: float | None


@dataclass(frozen=True)
class PairedT:
    """A plain paired t-test: mean and standard deviation of the differences, interval and two-sided p."""

    mean: float
    sd: float | None
    lo: float | None
    hi: float | None
    p: float | None


def finite(values: Mapping[int, float]) -> dict[int, float]:
    """The seeds whose value is a finite number, in seed order."""
    return {seed: float(values[seed]) for seed in sorted(values) if math.isfinite(values[seed])}


def summarise(arm: str, values: Mapping[int, float]) -> Sample:
    """Describe the finished runs of `arm`, {seed: value}; values that are not finite do not count."""
    Y = np.array(list(finite(values).values()))  # noqa: N806 - the notation of the field
    if not Y.size:
        return Sample(arm, 0, None, None)
    with np.errstate(over="ignore", invalid="ignore"):
        sd = float(Y.std(ddof=1)) if Y.size > 1 else None
        return Sample(arm, int(Y.size), float(Y.mean()), sd)


def paired_t(treated: NDArray[np.float64], control: NDArray[np.float64], alpha: float) -> PairedT:
    """Test whether the mean of `treated − control` is zero; both of shape (n,), n >= 1, paired by position.

    One pair has no interval. Equal differences have an interval of width zero, and p is 0, or 1 where the
    difference is zero.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        D = treated - control  # noqa: N806 - the notation of the field
        n, mean = D.size, float(D.mean())
        sd = float(D.std(ddof=1)) if n > 1 else None
    if sd is None or not math.isfinite(sd):
        return PairedT(mean, None, None, None, None)
    rounding = _ROUNDING * float(max(np.abs(treated).max(), np.abs(control).max()))
    if sd <= rounding:
        return PairedT(mean, sd, mean, mean, 1.0 if abs(mean) <= rounding else 0.0)
    se = sd / math.sqrt(n)
    half = float(stdtrit(n - 1, 1 - alpha / 2)) * se
    return PairedT(mean, sd, mean - half, mean + half, float(2 * stdtr(n - 1, -abs(mean / se))))


def paired_effects(
    reference: Mapping[int, float],
    arms: Mapping[str, Mapping[int, float]],
    mode: Mode,
    alpha: float,
    *,
    reference_name: str = "baseline",
    no_claim: str | None = None,
) -> tuple[Effect, ...]:
    """Δ = arm − reference over their common seeds, for every arm, in the order given.

    `reference` and each arm map seed -> value of a run that reached full length; values that are not finite
    and seeds without a partner are left out. The verdict is `hurts` or `helps` (by `mode`) where Holm's p
    over all arms is at most `alpha`, `unresolved` otherwise, `no data` without a pair. With `no_claim` (a
    word such as "rung-only") the arms get Δ and n, that word as their verdict, and neither interval nor p.
    """
    control = finite(reference)
    effects = []
    for arm, values in arms.items():
        treated = finite(values)
        seeds = tuple(seed for seed in treated if seed in control)
        effects.append(_effect(arm, reference_name, seeds, treated, control, alpha, no_claim))
    corrected = holm([effect.p for effect in effects])
    return tuple(
        replace(effect, p_holm=p_holm, verdict=_verdict(effect, p_holm, mode, alpha))
        for effect, p_holm in zip(effects, corrected, strict=True)
    )


def _effect(
    arm: str,
    reference: str,
    seeds: tuple[int, ...],
    treated: Mapping[int, float],
    control: Mapping[int, float],
    alpha: float,
    no_claim: str | None,
) -> Effect:
    empty = Effect(arm, "main", reference, len(seeds), None, None, None, None, None, "none", NO_DATA, seeds)
    if not seeds:
        return empty
    test = paired_t(np.array([treated[s] for s in seeds]), np.array([control[s] for s in seeds]), alpha)
    if no_claim is not None:
        return replace(empty, delta=test.mean, sd=test.sd, method="mean difference", verdict=no_claim)
    flags = []
    if test.p is None:
        flags.append("no interval")
    elif test.lo == test.hi:
        flags.append("zero variance")
    return replace(
        empty,
        delta=test.mean,
        lo=test.lo,
        hi=test.hi,
        p=test.p,
        method="mean difference" if test.p is None else "paired t",
        verdict=UNRESOLVED,
        sd=test.sd,
        flags=tuple(flags),
    )


def _verdict(effect: Effect, p_holm: float | None, mode: Mode, alpha: float) -> str:
    if p_holm is None or effect.delta is None or p_holm > alpha:
        return effect.verdict
    better = effect.delta > 0 if mode == "max" else effect.delta < 0
    return HELPS if better else HURTS
