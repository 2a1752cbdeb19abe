"""Studies whose true effects are known: learning curves that cross, seeds that arms share.

Unit: the SD of the final value between seeds of one arm is 1; lengths are shares r of the full length; higher
is better. Y_is(r) = δ_i − (8 + β_i)(r^−½ − 1) + m_i r^−¼ [√ρ b_s(r) + √(1−ρ) e_is(r)], where b (of the seed)
and e (of the run) are unit Gaussian with correlation 0.6^|lag| between rungs, and m_i is 1 but for an arm
that is noisier. Where arms share more with each other than with the reference, e has a part that is theirs
together. Runs differ in speed (log-normal, σ = 0.3), which only matters to rules that compare who has
arrived.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)
"""Where a curve is seen, as shares of the full length; the last is the end."""
MOST_SEEDS = 12
"""Seeds drawn for every study at least, so that rules which may go further see the same first seeds."""

_LAG_CORRELATION = 0.6
_PACE_SIGMA = 0.3
_BETA = (0.0, 0.6, -0.6, 1.0, 0.0, -1.0, 0.0, 0.5)
_lags = np.abs(np.subtract.outer(np.arange(len(RUNGS)), np.arange(len(RUNGS))))
_MIX = np.linalg.cholesky(_LAG_CORRELATION**_lags).T
_RUNGS = np.array(RUNGS)


@dataclass(frozen=True)
class Scenario:
    """The truth behind the studies. `delta`: effect of each arm at full length, `beta`: how its curve bends.

    `rho`: correlation of an arm and the reference over seeds, `shared`: of two arms (None: as much); `sd`:
    factor on the noise of each arm, empty for 1 everywhere, `reference_sd`: on that of the reference;
    `falls`: (share of the reference's runs that fall, by how much, how far the others stand above 0).
    """

    name: str
    delta: tuple[float, ...]
    beta: tuple[float, ...]
    rho: float = 0.3
    sd: tuple[float, ...] = ()
    reference_sd: float = 1.0
    shared: float | None = None
    falls: tuple[float, float, float] = (0.0, 0.0, 0.0)
    title: str = ""

    def __post_init__(self) -> None:
        if not self.delta or len(self.beta) != len(self.delta) or len(self.sd) not in (0, len(self.delta)):
            raise ValueError("a scenario needs one delta, one beta and, where given, one sd per arm")
        if not 0 <= self.rho < 1:
            raise ValueError(f"rho is a correlation from 0 to below 1, got {self.rho}")
        if self.shared is not None and not self.rho <= self.shared < 1:
            raise ValueError(f"two arms share at least rho = {self.rho} and less than 1, got {self.shared}")

    @property
    def arms(self) -> int:
        """Arms that are compared with the reference."""
        return len(self.delta)


_EFFECTS, _NULLS = (0.0, 0.0, 0.0, 2.0, -1.0, -2.0, -4.0, -12.0), (0.0,) * 8
_LOSSES = (1.0, 1.0, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5)
"""Shares of wrong answers over the reference's .002: accuracies from .998 to .985."""


def _named() -> dict[str, Scenario]:
    """Return the scenarios by name, of eight arms each."""
    s1 = Scenario("S1", _EFFECTS, _BETA, title="S1")
    s2 = Scenario("S2", _NULLS, _BETA, title="S2")
    worse = tuple(5.0 - 5.0 * loss for loss in _LOSSES)
    fallen = "S1, 20 % of baseline runs fall by 5 SD"
    losses = replace(s1, delta=worse, sd=_LOSSES)
    found = {
        "S1": s1,
        "S2": s2,
        **{
            f"baseline-x{factor}": replace(s2, reference_sd=factor, title=f"S2, baseline SD × {factor}")
            for factor in (2, 3, 5)
        },
        "share-95-50": replace(s2, rho=0.5, shared=0.95, title="S2, arms share .95, .5 with the baseline"),
        "share-80-30": replace(s2, rho=0.3, shared=0.8, title="S2, arms share .8, .3 with the baseline"),
        "arms-3x5": replace(s2, sd=(5.0,) * 3 + (1.0,) * 5, title="S2, 3 of 8 arms SD × 5"),
        "arms-2x10": replace(s2, sd=(10.0,) * 2 + (1.0,) * 6, title="S2, 2 of 8 arms SD × 10"),
        "nulls-x2": replace(s1, sd=(2.0,) * 3 + (1.0,) * 5, title="S1, null arms SD × 2"),
        "nulls-x3": replace(s1, sd=(3.0,) * 3 + (1.0,) * 5, title="S1, null arms SD × 3"),
        "falls": replace(s1, falls=(0.2, 5.0, 0.0), title=f"{fallen}, truth: among the others (as audited)"),
        "falls-mean": replace(
            s1, falls=(0.2, 4.0, 1.0), title=f"{fallen}, truth: on average (our own reading)"
        ),
        "losses": replace(losses, title="accuracies .985 to .998, SD grows with the loss"),
    }
    return {name: replace(one, name=name) for name, one in found.items()}


SCENARIOS = _named()
"""S1 (five of eight arms have an effect), S2 (none), and what a rule may meet that was not planned for."""


def scenario(
    name: str, arms: int = 8, rho: float | None = None, noisy: tuple[int, float] | None = None
) -> Scenario:
    """Return one of `SCENARIOS`, of as many arms and with that correlation (None: the scenario's own).

    `arms` other than 8 repeat the eight in turn; `noisy`: the first so many arms have so many times the SD.
    Raises `ValueError` for another name, fewer than one arm, or an impossible correlation.
    """
    if name not in SCENARIOS:
        raise ValueError(f"there is no scenario {name!r}; valid: {', '.join(SCENARIOS)}")
    if arms < 1:
        raise ValueError(f"a study has at least one arm, got {arms}")
    eight = SCENARIOS[name]
    picked = [index % eight.arms for index in range(arms)]
    sd = tuple(eight.sd[index] for index in picked) if eight.sd else ()
    if noisy is not None:
        sd = tuple(noisy[1] if index < noisy[0] else 1.0 for index in range(arms))
    delta, beta = (tuple(values[index] for index in picked) for values in (eight.delta, eight.beta))
    return replace(eight, delta=delta, beta=beta, sd=sd, rho=eight.rho if rho is None else rho)


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
    rows, rho = truth.arms + 1, truth.rho
    noise = random.standard_normal((seeds, rows + 1, len(RUNGS))) @ _MIX
    for_arms, for_falls = random.spawn(2)  # what few scenarios need: the others keep their numbers
    common, own = noise[:, :1], noise[:, 1:]
    of_arms = for_arms.standard_normal((seeds, 1, len(RUNGS))) @ _MIX
    spread = np.array((truth.reference_sd, *(truth.sd or (1.0,) * truth.arms)))
    delta, beta = np.array((0.0, *truth.delta)), np.array((0.0, *truth.beta))
    alike = np.array((rho, *((rho if truth.shared is None else truth.shared,) * truth.arms)))[:, None]
    curve = delta[:, None] - (8 + beta)[:, None] * (_RUNGS**-0.5 - 1)
    bracket = np.sqrt(rho) * common + np.sqrt(alike - rho) * of_arms + np.sqrt(1 - alike) * own
    Y = curve + spread[:, None] * _RUNGS**-0.25 * bracket  # noqa: N806 - seeds × arms × rungs
    share, down, up = truth.falls
    Y[:, 0] += np.where(for_falls.random((seeds, 1)) < share, -down, up)
    return np.ascontiguousarray(Y.swapaxes(0, 1))
