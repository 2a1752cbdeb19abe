"""How often a component that truly does nothing is said to help or hurt, counted over whole studies."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.simulate.generator import Scenario, study
from orchestrator.simulate.methods import METHODS, SimulatedDesign
from orchestrator.stats.descriptions import clopper_pearson

FOUND = Scenario(
    "one null among findings",
    delta=(0.0, 2.0, -1.0, -2.0, -4.0, -12.0),
    beta=(0.6, 1.0, 0.0, -1.0, 0.0, 0.5),
)
"""The findings of S1 and one null: every level that a finding frees is at the null's disposal."""


@dataclass(frozen=True)
class NullCount:
    """What was said about the null in `studies` studies.

    `lo`, `hi`: exact 95 % interval of the share of studies that claim an effect; `alpha`: what is allowed.
    """

    method: str
    studies: int
    helps: int
    hurts: int
    equivalent: int
    unresolved: int
    lo: float
    hi: float
    alpha: float

    @property
    def claims(self) -> int:
        """Studies that claimed an effect that is not there."""
        return self.helps + self.hurts


def null_studies(studies: int, *, design: SimulatedDesign | None = None, seed: int = 0) -> NullCount:
    """Run `studies` studies with one null component among five that matter and count what is said about it.

    Each goes through the rule as in the engine. It bounds the share of studies that claim an effect of a
    null: no more than α · `studies` are expected.
    """
    save = METHODS["save"]
    given = design or SimulatedDesign()
    found = [save.judge(study(FOUND, given.seeds, seed, index), given) for index in range(studies)]
    signs = [int(one.signs[0]) for one in found]
    helps, hurts = signs.count(1), signs.count(-1)
    lo, hi = clopper_pearson(helps + hurts, studies)
    equivalent = sum(bool(one.equivalent[0]) for one in found)
    return NullCount(
        method=save.name,
        studies=studies,
        helps=helps,
        hurts=hurts,
        equivalent=equivalent,
        unresolved=studies - helps - hurts - equivalent,
        lo=lo,
        hi=hi,
        alpha=given.alpha,
    )
