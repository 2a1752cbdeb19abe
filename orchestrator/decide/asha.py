"""Asynchronous successive halving: at each rung the best part of what has arrived continues.

Li et al. 2020 (arXiv 1810.05934), without promotion: a trial that is stopped has ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.decide.rungs import Decision, RungReport, RungRule, Scores, others_at, rungs
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import Ladder, StoppingRule
from orchestrator.study.methods import Sentence
from orchestrator.study.publications import ASHA as PUBLISHED
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Halving(RungRule):
    """The best ⌈n / reduction⌉ of the n scores at a rung continue, this one included.

    The same trials as with the linearly interpolated quantile, but the cut-off is a score that somebody
    reached. Ties continue, the first to arrive continues, and a protected trial is ranked but never stopped.
    """

    rungs: tuple[float, ...] = ()
    reduction: float = 3
    rule: str = "asha"

    def judge(self, report: RungReport, table: Scores, protected: bool) -> Decision:
        """Rank the report among those at its rung."""
        others = others_at(table, report)
        scores = sorted([*others, report.score], reverse=True)
        peers = len(scores)
        kept = math.ceil(peers / self.reduction - 1e-9)
        rank = 1 + sum(score > report.score for score in others)
        place = f"rank {rank} of {peers} at rung {report.rung:g}"
        stop = peers > 1 and rank > kept and not protected
        if peers == 1:
            reason = f"first to reach rung {report.rung:g}"
        elif stop:
            reason = f"{place}, only the best {kept} continue"
        elif rank <= kept:
            reason = f"{place}, the best {kept} continue"
        else:
            reason = f"{place}, but the reference arm is never stopped"
        kind: Literal["stop", "continue"] = "stop" if stop else "continue"
        state = TrialState.STOPPED if stop else None
        return Decision(kind, state, self.rule, reason, report.rung, scores[kept - 1], rank, peers)


class _Asha(StoppingRule):
    name = "asha"
    tier = "rung-only"
    stops_at_rungs = True
    drops_runs = True
    published = (PUBLISHED,)

    def at_rungs(self, stopping: Ladder, longest: float) -> Halving:
        return Halving(rungs(stopping.grace, stopping.reduction, longest), float(stopping.reduction))

    def describe(self, spec: StudySpec) -> str:
        return f"asha: {self.describe_rungs(spec, spec.stopping)}, the reference always"

    def describe_rungs(self, spec: StudySpec, stopping: Ladder) -> str:
        rungs_of = super().describe_rungs(spec, stopping)
        return f"{rungs_of}, the best 1/{stopping.reduction:.5g} go on"

    def methods(self, spec: StudySpec, families: Sequence[int]) -> tuple[Sentence, ...]:
        halving = (
            f"Runs were stopped by asynchronous successive halving without promotion, with "
            f"{self.describe_rungs(spec, spec.stopping)}; the reference arm was never stopped"
        )
        claim = (
            "Which runs came to their full length depends on their results, so that nothing is claimed about "
            "effects at full length"
        )
        return (Sentence(halving, self.published), Sentence(claim))


ASHA = _Asha()
