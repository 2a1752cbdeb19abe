"""The sequential rule on the seed axis: which seeds run next, and what is decided at each look.

Looks are synchronous and see no seed beyond their own: a decision depends on results only, never on who was
faster. So the whole course is a pure function of the results that are there; it is computed anew whenever a
run ends, after a restart of the driver, in the simulator and for the report, always by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Action = Literal["continue", "different", "equivalent", "futile", "last look", "budget spent"]


@dataclass(frozen=True)
class ResolveRule:
    """What is registered before the first run.

    `looks`: ascending numbers of seeds, the last is the most an arm may get; `seeds`: those that the reference
    gets first, and with `goal: reinvest` the budget is seeds × (arms + 1) runs. `margin` in the metric's units.
    """

    looks: tuple[int, ...]
    seeds: int
    alpha: float = 0.05
    gamma: float = 2.0
    futility: float = 0.10
    margin: float | None = None
    goal: Literal["save", "reinvest"] = "save"
    variance: Literal["moderated", "per_arm"] = "moderated"


@dataclass(frozen=True)
class ArmLook:
    """One arm at one look; values oriented (higher is better).

    `arm`: row of the values (0 is the reference); `number`: the seeds of this look; `n` of them have a pair.
    `lo`, `hi`: sequential interval of this arm alone; `p`: two-sided at this look; `level`: the nominal level that
    p was compared with in Holm's last step; `power`: predictive power at the best later look (None where nobody
    asked); `seeds_needed`: an estimate, for arms that are given up.
    """

    arm: int
    number: int
    n: int
    mean: float | None
    v: float | None
    df: float | None
    se: float | None
    p: float | None
    lo: float | None
    hi: float | None
    level: float | None
    p_equivalent: float | None
    power: float | None
    seeds_needed: int | None
    flagged: bool
    action: Action


@dataclass(frozen=True)
class Course:
    """How far the rule has come with the results that are there.

    `looks`: all decisions in their order; `final`: the decision that ended each arm, by row; `wanted`: (row, seed
    index) that the next look needs and that have not ended, in the order in which they should start; `ahead`:
    those that idle lanes may start meanwhile; `needed`: all that some look needs or has used; `finished`: every
    arm has ended.
    """

    looks: tuple[ArmLook, ...]
    final: dict[int, ArmLook]
    wanted: tuple[tuple[int, int], ...]
    ahead: tuple[tuple[int, int], ...]
    needed: frozenset[tuple[int, int]]
    finished: bool


def resolve(rule: ResolveRule, values: NDArray[np.float64], ended: NDArray[np.bool_]) -> Course:
    """Follow the rule as far as the results go.

    Args:
        values: (1 + arms, most seeds), oriented; row 0 is the reference; NaN where a run has no value.
        ended: same shape; a run that ended without a value is an outcome of its arm and takes its place.
    """
    raise NotImplementedError
