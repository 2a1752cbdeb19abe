"""Nominal levels of the looks of a sequential test: how much of α each look may use.

The spending function is α*(t) = α·t^γ with t = n / n_max (Kim & DeMets 1987). The levels follow from the
recursion of Armitage, McPherson & Rowe (1969) on the normal score scale and are applied to the p-values of
t-tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri


def spending(alpha: float, looks: Sequence[int], gamma: float) -> tuple[float, ...]:
    """Return what each look adds to the error that is spent, Σ = alpha.

    By the union bound these are also levels that hold whatever the joint distribution of the looks is: the
    strict mode's.
    """
    spent = [alpha * (look / looks[-1]) ** gamma for look in looks]
    return tuple(now - before for now, before in zip(spent, [0.0, *spent], strict=False))


@lru_cache(maxsize=4096)
def nominal_levels(alpha: float, looks: tuple[int, ...], gamma: float) -> tuple[float, ...]:
    """Two-sided levels π: reject at look l when p <= π[l], and the whole error is `alpha` (0 to 1)."""
    return solve_levels(alpha, looks, gamma)


def solve_levels(alpha: float, looks: tuple[int, ...], gamma: float) -> tuple[float, ...]:
    """`nominal_levels` without its memory, for those who try many values of alpha once.

    The density of the score of what has not been rejected yet is carried from look to look on Gauss-Legendre
    nodes: it is smooth between the bounds, so that some 50 to 100 nodes are exact to about 1e-12.
    """
    increments = spending(alpha, looks, gamma)
    times = [look / looks[-1] for look in looks]
    levels = [increments[0]]
    if len(looks) == 1 or alpha <= 0:
        return increments
    gaps = [after - before for before, after in pairwise(times)]
    unit, weights = _nodes(min(512, max(48, math.ceil(24 / math.sqrt(min(gaps))))))
    bound = -float(ndtri(increments[0] / 2)) * math.sqrt(times[0])
    x = bound * unit
    mass = bound * weights * np.exp(-0.5 * x * x / times[0]) / math.sqrt(2 * math.pi * times[0])
    for time, gap, increment in zip(times[1:], gaps, increments[1:], strict=True):
        score = _score(x, mass, time, gap, increment)
        levels.append(2 * float(ndtr(-score)))
        y = score * math.sqrt(time) * unit
        kernel = np.exp(-0.5 * np.square(y[:, None] - x) / gap) / math.sqrt(2 * math.pi * gap)
        x, mass = y, score * math.sqrt(time) * weights * (kernel @ mass)
    return tuple(levels)


@lru_cache(maxsize=64)
def _nodes(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    unit, weights = np.polynomial.legendre.leggauss(count)
    return unit, weights


def _score(
    x: NDArray[np.float64], mass: NDArray[np.float64], time: float, gap: float, increment: float
) -> float:
    """Return bound z whose crossing now, and not before, has probability `increment`: Newton, bracketed."""
    root, step = math.sqrt(time), math.sqrt(gap)
    low, high = 0.0, -float(ndtri(increment / 2))
    z = high
    for _ in range(100):
        distance = (x - z * root) / step
        excess = 2 * float(mass @ ndtr(distance)) - increment
        if excess > 0:
            low = z
        else:
            high = z
        slope = -2 * root / step * float(mass @ np.exp(-0.5 * distance * distance)) / math.sqrt(2 * math.pi)
        after = z - excess / slope if slope else low
        if not low < after < high:
            after = (low + high) / 2
        if abs(after - z) <= 1e-13 * max(1.0, z):
            return after
        z = after
    return z


def alpha_of(p: float, index: int, looks: tuple[int, ...], gamma: float) -> float:
    """Return the smallest α whose nominal level at look `index` reaches `p`, to 1e-9; infinite where none
    does.

    The inverse of `nominal_levels` at one look. A level lies between the look's increment and α, which
    brackets the root; its logarithm is almost linear in that of α: a few secants (Illinois) find it.
    """
    share = spending(1.0, looks, gamma)[index]
    if index == 0 or p < 1e-12:  # so far out the union bound is as good, and never too small
        return p / share if p <= share else math.inf

    def excess(log_alpha: float) -> float:
        return math.log(solve_levels(math.exp(log_alpha), looks, gamma)[index] / p)

    low, high = math.log(p), min(0.0, math.log(p / share))
    below, above = excess(low), excess(high)
    if above < -1e-9:
        return math.inf
    if below >= min(0.0, above):  # p = 1 leaves no bracket
        return p
    for _ in range(60):
        middle = high - above * (high - low) / (above - below)
        at_middle = excess(middle)
        if abs(at_middle) < 1e-10:
            return math.exp(middle)
        if at_middle > 0:
            high, above, below = middle, at_middle, below / 2
        else:
            low, below, above = middle, at_middle, above / 2
    return math.exp(high)
