"""What the statistics say, as data that knows nothing about how it looks.

Values are in the metric's own units unless a name says otherwise. D are the paired values of a contrast, one
per seed (`study.designs.Contrast`); for a leave-one-out arm D = Y(arm) − Y(reference).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["max", "min"]

HURTS = "hurts"
HELPS = "helps"
SIZE_UNCLEAR = "different, size unclear"
EQUIVALENT = "practically equivalent"
INTERACTS = "interacts"
UNRESOLVED = "unresolved"
SCREENED = "one seed: screened out"
FAILS = "fails"
NO_DATA = "no data"
RUNG_ONLY = "rung-only"
DETERMINISTIC = "deterministic"

RESOLVED = frozenset({HURTS, HELPS, SIZE_UNCLEAR, EQUIVALENT, INTERACTS})
"""Verdicts that claim something."""
DIFFERENT = RESOLVED - {EQUIVALENT}
"""Verdicts that claim a difference."""


@dataclass(frozen=True)
class PairedT:
    """A plain paired t-test: mean and standard deviation of the differences, interval and two-sided p."""

    mean: float
    sd: float | None
    lo: float | None
    hi: float | None
    p: float | None


@dataclass(frozen=True)
class Share:
    """P(A > B): among the D that are not zero, the share in which the arm is better than the reference.

    `lo` < `hi`: Clopper-Pearson interval; `n`: the D that are not zero.
    """

    share: float
    lo: float
    hi: float
    n: int


@dataclass(frozen=True)
class Failures:
    """Runs of the arm and of the reference that failed or diverged; `p`: Fisher's exact test, two-sided."""

    failed: int
    runs: int
    reference_failed: int
    reference_runs: int
    p: float | None


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What the tests of one effect say; None where there was none.

    `lo` < `hi`: interval of this arm alone (sequential under `resolve`), `wide_lo` < `wide_hi`: simultaneous
    over the family. `p` belongs to the interval's test at the last look, `p_equivalent` to the two one-sided
    tests against the margin (neither is corrected), `p_holm` is the smallest α at which the whole procedure
    rejects. `look`: seeds at which the effect was decided; `early`: before the last look; `seeds_needed`: an
    estimate for unresolved effects.
    """

    lo: float | None = None
    hi: float | None = None
    p: float | None = None
    p_holm: float | None = None
    se: float | None = None
    df: float | None = None
    wide_lo: float | None = None
    wide_hi: float | None = None
    p_equivalent: float | None = None
    look: int | None = None
    early: bool = False
    seeds_needed: int | None = None


@dataclass(frozen=True)
class Effect(Inference):
    """Everything that is said about one effect; what could not be computed is None.

    `method`: moderated paired t, paired t, mean difference or none; `plain` stands beside a moderated one.
    `percent`: Δ in % of the reference's mean; `d_sd`: Δ over the SD of the reference, both over the effect's
    seeds; `g_z`: Hedges' g of the D. `flags`: what a reader must know besides, such as "2 failed",
    "conditional", "noisy" (its variance stands alone), "moderated only", "zero variance", "2 on mixed
    devices" (seeds whose runs were on different types of GPU).
    """

    arm: str
    kind: Literal["main", "interaction"]
    reference: str
    n: int
    method: str
    verdict: str
    seeds: tuple[int, ...]
    flags: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    delta: float | None = None
    sd: float | None = None
    plain: PairedT | None = None
    wins: Share | None = None
    percent: float | None = None
    d_sd: float | None = None
    g_z: float | None = None
    p_permutation: float | None = None
    q: float | None = None
    failures: Failures | None = None


@dataclass(frozen=True)
class Sample:
    """The finished runs of one arm: how many, their mean and standard deviation (None below two)."""

    arm: str
    n: int
    mean: float | None
    sd: float | None
