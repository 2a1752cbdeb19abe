"""A stopping rule: at each rung, trials below the median of those that have arrived end there."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from orchestrator.decide.rungs import Decision, RungReport, RungRule, Scores, others_at, rungs
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import Ladder, StoppingRule
from orchestrator.study.faults import Problem
from orchestrator.study.spec import StoppingSpec, StudySpec


class MedianStopping(StoppingSpec):
    """`stopping` of a study under this rule."""

    min_peers: Annotated[int, Field(ge=2)] = 2
    """Nobody is stopped at a rung that fewer others have passed."""


@dataclass(frozen=True)
class Median(RungRule):
    rungs: tuple[float, ...]
    min_peers: int = 2
    rule: str = "median"

    def judge(self, report: RungReport, table: Scores, protected: bool) -> Decision:
        others = others_at(table, report)
        if protected or len(others) < self.min_peers:
            return Decision.goes_on(self.rule, report, f"{len(others)} others at rung {report.rung:g}")
        cutoff = statistics.median(others)
        if report.score >= cutoff:
            return Decision.goes_on(self.rule, report, f"not below the median at rung {report.rung:g}")
        reason = f"below the median of {len(others)} others at rung {report.rung:g}"
        return Decision("stop", TrialState.STOPPED, self.rule, reason, report.rung, cutoff)


class MedianRule(StoppingRule):
    name = "median"
    tier = "rung-only"
    stops_at_rungs = True
    drops_runs = True
    settings = MedianStopping

    def problems(self, spec: StudySpec) -> Iterator[Problem]:
        runs = (len(spec.components) + 1) * len(spec.seeds)
        if isinstance(spec.stopping, MedianStopping) and spec.stopping.min_peers >= runs:
            message = f"is never reached by the {runs} runs of this study"
            yield Problem(("stopping", "min_peers"), message, str(spec.stopping.min_peers), "use fewer")

    def at_rungs(self, stopping: Ladder, longest: float) -> Median:
        peers = stopping.min_peers if isinstance(stopping, MedianStopping) else 2
        return Median(rungs(stopping.grace, stopping.reduction, longest), peers)

    def describe(self, spec: StudySpec) -> str:
        return f"median: {self.describe_rungs(spec, spec.stopping)}, the better half goes on"


MEDIAN = MedianRule()
