"""What `resolve` does with seeds that resolved arms leave over: whom it looks at next, and what runs ahead.

`save`: all arms that are still active go to their next look together. `screen`: the same after a first look
at one seed, by which arms that show little are parked. `reinvest`: after the first look, rounds of the two
arms that promise most for what they cost, while the budget lasts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, cast

from orchestrator.stats.moderated import FIRST, Pooling
from orchestrator.study.cells import evaluation_seeds
from orchestrator.study.faults import Problem, show
from orchestrator.study.methods import Sentence
from orchestrator.study.registered import GOALS, GoalTerms
from orchestrator.study.spec import StudySpec
from orchestrator.study.values import MAX_SEED

if TYPE_CHECKING:
    from orchestrator.decide.resolve import Walk

ROUND = 2
"""Arms of a round under `goal: reinvest`. With more, power falls; with fewer, lanes wait."""

_FROM_TWO = (2, 3, 4, 5, 6, 8, 10, 12)

FEWEST_ARMS = 4
"""Below it a family takes levels of the union bound, and no arm is screened out."""

_FEW_SEEDS = 6


def few_arms(arms: int) -> bool:
    """Whether a family of that many arms takes levels of the union bound.

    The recursion is one on the normal scale, applied to p-values of t: at three seeds that spends a little
    more than α, which the pooled variance and Holm's correction make up for from four arms on. With one, two
    and three arms the family-wise error was .058, .054 and .054 in 8,000 simulated studies each, .042 with
    four (`orchestrate simulate --scenario S2 --arms 1 --rule save`, before this).
    """
    return arms < FEWEST_ARMS


@dataclass(frozen=True)
class Screening:
    """A look at one seed before all others, which claims nothing and spends no α.

    `park_below`: an arm whose difference is smaller than so many SDs of the reference's first seeds is
    parked; `come_back`: with that chance to be resolved, it goes on when no other arm is active any more;
    `as_judged`: the interval of an arm without a claim has the level that the arm was judged at, and so holds
    0. Arms go on in the studies whose first seeds mislead: at the level of the look alone too many miss.
    """

    park_below: float
    come_back: float
    as_judged: bool = False


@dataclass(frozen=True)
class Terms:
    """What a version of a goal fixes. As it stands: the first version of `save` and `reinvest`.

    `looks`: numbers of seeds after which one looks, below the most (`looks: auto`); `gamma`: exponent of the
    spending function (`gamma: auto`) for up to six seeds, and for more; `base`: seeds of the reference that
    every look sees, all it gets before an arm comes to more (0: it gets the study's seeds, and a look sees
    those that its arms have); `pooling`: what a test borrows; `screen`: where there is one.
    """

    looks: tuple[int, ...] = (3, 4, 5, 6, 8, 10, 12)
    gamma: tuple[float, float] = (2.0, 1.0)
    base: int = 0
    pooling: Pooling = FIRST
    screen: Screening | None = None

    def looks_up_to(self, most: int) -> tuple[int, ...]:
        """Return the looks when an arm gets at most that many seeds."""
        return (*(look for look in self.looks if look < most), most)

    def gamma_for(self, most: int) -> float:
        """Return the exponent of the spending function when an arm gets at most that many seeds."""
        return self.gamma[most > _FEW_SEEDS]


_LEANING = Pooling(
    borrow=(3.0, 4.0, 6.0, 8.0),
    arms_own=True,
    reuse=0.5,
    curves=((2, 1.5), (3, 2.0), (4, 2.4), (5, 2.9), (6, 3.4)),
)


_SAVING = Terms(_FROM_TWO, (3.0, 3.0), 4, _LEANING)


class Goal(GoalTerms):
    """How rounds of looks are made up. `versions`: what each one fixes; the newest is `version`."""

    versions: ClassVar[Mapping[int, Terms]] = {1: Terms()}

    def terms(self, version: int) -> Terms:
        """Return what a version fixes; one that the table lacks differs in other things than these."""
        return self.versions.get(version, self.versions[max(self.versions)])

    @abstractmethod
    def next_round(self, walk: Walk) -> dict[int, int]:
        """Choose rows and the seeds at which each is looked at next; empty when nothing can be paid for."""

    @abstractmethod
    def ahead(self, walk: Walk, pending: dict[int, int]) -> list[tuple[int, int]]:
        """List (row, seeds) that lanes may run while the looks in `pending` are waited for, nearest first."""


class _Save(Goal):
    name = "save"
    left_over = "saved"
    version = 2
    versions: ClassVar[Mapping[int, Terms]] = {1: Terms(), 2: _SAVING}

    def next_round(self, walk: Walk) -> dict[int, int]:
        return {row: walk.next_look(row) for row in walk.active}

    def ahead(self, walk: Walk, pending: dict[int, int]) -> list[tuple[int, int]]:
        return [(row, look) for look in walk.rule.looks for row in walk.active]

    def methods(self, spec: StudySpec) -> tuple[Sentence, ...]:
        return (Sentence("Runs that arms did not need any more were not made"),)


class _Screen(_Save):
    name = "screen"
    version = 2
    versions: ClassVar[Mapping[int, Terms]] = {
        1: replace(_SAVING, screen=Screening(1.5, 0.4)),
        2: replace(_SAVING, screen=Screening(1.5, 0.4, as_judged=True)),
    }
    fewest_arms = FEWEST_ARMS

    def problems(self, spec: StudySpec) -> Iterator[Problem]:
        yield from super().problems(spec)
        if spec.report.variance == "per_arm":
            message = "judges one seed by the spread over all arms, which variance: per_arm leaves out"
            hint = "use variance: moderated, or goal: save"
            yield Problem(("stopping", "goal"), message, self.name, hint)

    def methods(self, spec: StudySpec) -> tuple[Sentence, ...]:
        screen = self.versions[self.version].screen
        assert screen is not None
        text = (
            f"In families of {FEWEST_ARMS} arms or more a first look at one seed, which tests and claims "
            f"nothing, set those arms aside whose difference was below {screen.park_below:g} SDs of the "
            "reference's first seeds; they were taken up again when no other arm was active and the chance "
            f"to resolve them was at least {screen.come_back:.0%}"
        )
        return (Sentence(text), *super().methods(spec))


class _Reinvest(Goal):
    name = "reinvest"
    left_over = "given to the others"
    budgeted = True
    version = 2
    versions: ClassVar[Mapping[int, Terms]] = {1: Terms(), 2: Terms(_FROM_TWO, (2.0, 1.5), 4, _LEANING)}

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

    def methods(self, spec: StudySpec) -> tuple[Sentence, ...]:
        most = self.most_seeds(spec.stopping.max_seeds, len(spec.seeds))
        text = (
            f"Runs that arms did not need any more went to those that were still open, in rounds of "
            f"{ROUND} arms, those first whose chance to be resolved was largest for its cost, up to "
            f"{most} seeds each and within the number of runs of a full grid of {len(spec.seeds)} seeds"
        )
        return (Sentence(text),)


SAVE, SCREEN, REINVEST = _Save(), _Screen(), _Reinvest()


def goal_of(name: str) -> Goal:
    """Return the goal of that name. Raises as `Registry.get` does."""
    return cast("Goal", GOALS.get(name))
