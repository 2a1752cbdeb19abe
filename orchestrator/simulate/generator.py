"""Studies whose true effects are known: learning curves that cross, seeds that arms share.

Unit: the SD of the final value between seeds of one arm is 1; lengths are shares r of the full length; higher
is better. Y_is(r) = δ_i − (8 + β_i)(r^−½ − 1) + m_i r^−¼ [√ρ b_s(r) + √(1−ρ) e_is(r)], where b (of the seed)
and e (of the run) are unit Gaussian with correlation 0.6^|lag| between rungs, and m_i is 1 but for an arm
that is noisier. Runs differ in speed (log-normal, σ = 0.3), which only matters to rules that compare who has
arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)
"""Where a curve is seen, as shares of the full length; the last is the end."""
MOST_SEEDS = 12
"""Seeds drawn for every study at least, so that rules which may go further see the same first seeds."""

_LAG_CORRELATION = 0.6
_PACE_SIGMA = 0.3
_BETA = (0.0, 0.6, -0.6, 1.0, 0.0, -1.0, 0.0, 0.5)
_DELTA = {"S1": (0.0, 0.0, 0.0, 2.0, -1.0, -2.0, -4.0, -12.0), "S2": (0.0,) * 8}
_lags = np.abs(np.subtract.outer(np.arange(len(RUNGS)), np.arange(len(RUNGS))))
_MIX = np.linalg.cholesky(_LAG_CORRELATION**_lags).T
_RUNGS = np.array(RUNGS)


@dataclass(frozen=True)
class Scenario:
    """The truth behind the studies. `delta`: effect of each arm at full length, `beta`: how its curve bends.

    `sd`: factor on the noise of each arm, empty for 1 everywhere; the reference has δ = β = 0 and factor 1.
    """

    name: str
    delta: tuple[float, ...]
    beta: tuple[float, ...]
    rho: float = 0.3
    sd: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.delta or len(self.beta) != len(self.delta) or len(self.sd) not in (0, len(self.delta)):
            raise ValueError("a scenario needs one delta, one beta and, where given, one sd per arm")
        if not 0 <= self.rho < 1:
            raise ValueError(f"rho is a correlation from 0 to below 1, got {self.rho}")

    @property
    def arms(self) -> int:
        """Arms that are compared with the reference."""
        return len(self.delta)


def scenario(name: str, arms: int = 8, rho: float = 0.3, noisy: tuple[int, float] | None = None) -> Scenario:
    """`S1` (three arms without an effect, five with one) or `S2` (no effect anywhere).

    `arms` other than 8 repeat the eight in turn; `noisy`: the first so many arms have so many times the SD.
    Raises `ValueError` for another name, fewer than one arm, or an impossible correlation.
    """
    if name not in _DELTA:
        raise ValueError(f"there is no scenario {name!r}; valid: {', '.join(_DELTA)}")
    if arms < 1:
        raise ValueError(f"a study has at least one arm, got {arms}")
    picked = [index % len(_BETA) for index in range(arms)]
    sd = () if noisy is None else tuple(noisy[1] if index < noisy[0] else 1.0 for index in range(arms))
    return Scenario(name, tuple(_DELTA[name][i] for i in picked), tuple(_BETA[i] for i in picked), rho, sd)


@dataclass(frozen=True)
class GeneratedStudy:
    """One simulated study. Row 0 is the reference.

    `curves`: (1 + arms, seeds, rungs); `pace`: time per length of each run, (1 + arms, seeds).
    """

    curves: NDArray[np.float64]
    pace: NDArray[np.float64]


def study(truth: Scenario, seeds: int, seed: int, index: int) -> GeneratedStudy:
    """Return the study number `index` of the series `seed`: it depends on nothing else and may be made
    anywhere.

    It has `seeds` seeds, or `MOST_SEEDS` if those are more; their number does not change the first ones.
    """
    most = max(seeds, MOST_SEEDS)
    curves = generate(truth, most, np.random.default_rng([seed, index, 0]))
    pace = np.random.default_rng([seed, index, 1]).standard_normal((most, truth.arms + 1))
    return GeneratedStudy(curves, np.exp(_PACE_SIGMA * pace.T))


def generate(truth: Scenario, seeds: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return curves of one study, shape (1 + arms, seeds, rungs); more seeds never change the first ones."""
    rows = truth.arms + 1
    noise = random.standard_normal((seeds, rows + 1, len(RUNGS))) @ _MIX
    shared, own = noise[:, :1], noise[:, 1:]
    spread = np.array((1.0, *(truth.sd or (1.0,) * truth.arms)))
    delta, beta = np.array((0.0, *truth.delta)), np.array((0.0, *truth.beta))
    curve = delta[:, None] - (8 + beta)[:, None] * (_RUNGS**-0.5 - 1)
    bracket = np.sqrt(truth.rho) * shared + np.sqrt(1 - truth.rho) * own
    Y = curve + spread[:, None] * _RUNGS**-0.25 * bracket  # noqa: N806 - seeds × arms × rungs
    return np.ascontiguousarray(Y.swapaxes(0, 1))
