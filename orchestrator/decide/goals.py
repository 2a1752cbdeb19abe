"""What `resolve` does with seeds that resolved arms leave over: whom it looks at next, and what runs ahead.

`save`: all arms that are still active go to their next look together. `reinvest`: after the first look,
rounds of the two arms that promise most for what they cost, while the budget lasts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from orchestrator.study.cells import evaluation_seeds
from orchestrator.study.faults import Problem, show
from orchestrator.study.registered import GOALS, GoalTerms
from orchestrator.study.spec import StudySpec
from orchestrator.study.values import MAX_SEED

if TYPE_CHECKING:
    from orchestrator.decide.resolve import Walk

ROUND = 2
"""Arms of a round under `goal: reinvest`. With more, power falls; with fewer, lanes wait."""


class Goal(GoalTerms):
    """How rounds of looks are made up."""

    @abstractmethod
    def next_round(self, walk: Walk) -> dict[int, int]:
        """Choose rows and the seeds at which each is looked at next; empty when nothing can be paid for."""

    @abstractmethod
    def ahead(self, walk: Walk, pending: dict[int, int]) -> list[tuple[int, int]]:
        """List (row, seeds) that lanes may run while the looks in `pending` are waited for, nearest first."""


class _Save(Goal):
    name = "save"
    left_over = "saved"

    def next_round(self, walk: Walk) -> dict[int, int]:
        return {row: walk.next_look(row) for row in walk.active}

    def ahead(self, walk: Walk, pending: dict[int, int]) -> list[tuple[int, int]]:
        return [(row, look) for look in walk.rule.looks for row in walk.active]


class _Reinvest(Goal):
    name = "reinvest"
    left_over = "given to the others"
    budgeted = True

    def problems(self, spec: StudySpec) -> Iterator[Problem]:
        stopping, count = spec.stopping, len(spec.seeds)
        if stopping.max_seeds < count:
            message = f"is below the number of seeds, {count}, which every arm may get"
            hint = f"use at least max_seeds: {count}, or fewer seeds"
            yield Problem(("stopping", "max_seeds"), message, show(stopping.max_seeds), hint)
        elif evaluation_seeds(spec)[-1] > MAX_SEED:
            message = f"leave no room for the seeds that goal: reinvest adds: the largest seed is {MAX_SEED}"
            yield Problem(("seeds",), message, show(max(spec.seeds)), hint="use smaller seeds")

    def next_round(self, walk: Walk) -> dict[int, int]:
        return SAVE.next_round(walk) if not walk.rounds else walk.affordable({}, ROUND)

    def ahead(self, walk: Walk, pending: dict[int, int]) -> list[tuple[int, int]]:
        # only the next look of arms that wait for their round, as far as the budget pays for it: what runs
        # ahead in vain is not paid from it, and must not become more than that
        return list(walk.affordable(pending, walk.arms).items()) if walk.rounds else []


SAVE, REINVEST = _Save(), _Reinvest()


def goal_of(name: str) -> Goal:
    """Return the goal of that name. Raises as `Registry.get` does."""
    return cast("Goal", GOALS.get(name))
