"""A design: every pair of components is taken away together, and compared with the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.study.designs import (
    REFERENCE,
    Arm,
    Contrast,
    Design,
    Draft,
    Singles,
    clash,
    joined,
    possible_pairs,
)
from orchestrator.study.faults import Problem
from orchestrator.study.spec import StudySpec


class LeaveTwoOut(Design):
    name = "leave-two-out"
    grows = True
    many_arms = True

    def drafts(
        self, spec: StudySpec, singles: Singles, most_arms: int, problems: list[Problem]
    ) -> Iterator[Draft]:
        yield REFERENCE
        away = singles.away(spec)
        if len(away) < 2:
            problems.append(Problem(("design",), "leave-two-out needs two components to take away"))
        for one, other in possible_pairs(spec):
            problem = clash(spec, away[one], away[other], ("design",))
            if problem is None:
                yield joined((away[one], away[other]), "combination", ("design",))
            else:
                problems.append(problem)

    def contrasts(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Contrast, ...]:
        reference, *others = arms
        return tuple(
            Contrast(arm.name, "main", arm.parts, {arm.name: 1.0, reference.name: -1.0}, reference.name)
            for arm in others
        )

    def interaction_problem(self, spec: StudySpec) -> Problem | None:
        return Problem(("interactions",), "cannot be told where no component is taken away alone")


LEAVE_TWO_OUT = LeaveTwoOut()
