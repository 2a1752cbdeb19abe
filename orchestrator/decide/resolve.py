"""The sequential rule on the seed axis: which seeds run next, and what is decided at each look.

Looks are synchronous and see no seed beyond their own: a decision depends on results only, never on who was
faster. So the whole course is a pure function of the results that are there; it is computed anew whenever a
run ends, after a restart of the driver, in the simulator and for the report, always by the same code. Which
arms are looked at together, and what may run ahead, is the goal's (`decide.goals`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.decide.goals import Screening, goal_of
from orchestrator.stats.levels import nominal_levels, spending
from orchestrator.stats.moderated import (
    FIRST,
    Estimates,
    Pooling,
    additive_fit,
    critical_t,
    estimate,
    further_seeds,
    spread,
)
from orchestrator.stats.power import Question, predictive_power, seeds_needed

Action = Literal[
    "continue", "different", "equivalent", "futile", "last look", "budget spent", "parked", "screened out"
]
Claim = Literal["different", "equivalent"]
Cell = tuple[int, int]
"""Row and index of the seed."""
ByRow = dict[int, float]


@dataclass(frozen=True)
class ResolveRule:
    """What is registered before the first run.

    `looks`: ascending numbers of seeds, the last is the most an arm may get; `seeds`: those of the study;
    with `goal: reinvest` the budget is seeds × (arms + 1) runs. `margin` in the metric's units. `base`,
    `pooling`, `screen`: as in `goals.Terms`.
    """

    looks: tuple[int, ...]
    seeds: int
    alpha: float = 0.05
    gamma: float = 2.0
    futility: float = 0.10
    margin: float | None = None
    goal: str = "save"
    variance: Literal["moderated", "per_arm"] = "moderated"
    few_arms: bool = False
    base: int = 0
    pooling: Pooling = FIRST
    screen: Screening | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of seeds at which an arm is looked at: the looks, and one seed where it is screened."""
        return self.looks if self.screen is None else (1, *self.looks)

    @property
    def reference(self) -> int:
        """Seeds that the reference gets in any case."""
        return self.base or self.seeds

    @property
    def strict(self) -> bool:
        """Levels of the union bound: they hold whatever the joint distribution of the looks is."""
        return self.variance == "per_arm" or self.few_arms

    def levels(self, alpha: float) -> tuple[float, ...]:
        """Two-sided nominal levels of the looks that spend `alpha`."""
        alpha = min(alpha, 1.0)
        if self.strict:
            return spending(alpha, self.looks, self.gamma)
        return nominal_levels(alpha, self.looks, self.gamma)

    def level(self, number: int, alpha: float) -> float:
        """Return the nominal level of the look after so many seeds; 0 where that one tests nothing."""
        return self.levels(alpha)[self.looks.index(number)] if number in self.looks else 0.0

    def shown_level(self, number: int, judged: float | None, action: Action | None) -> float:
        """Return the level of an arm's interval; `judged`: the one that its p was compared with last."""
        claimed = action in ("different", "equivalent")
        as_judged = self.screen and self.screen.as_judged and not claimed
        return judged if judged and as_judged else self.level(number, self.alpha)

    def next_look(self, number: int) -> int | None:
        """Return the look after `number` seeds; None after the last."""
        return next((look for look in self.steps if look > number), None)


@dataclass(frozen=True)
class ArmLook:
    """One arm at one look; values oriented (higher is better).

    `arm`: row of the values (0 is the reference); `round`: looks with the same number were taken together;
    `number`: the seeds of this look; `n` of them have a pair. `lo`, `hi`: its sequential interval; `v`: 0
    where every pair is equal, which no test can judge; `p`: two-sided at this look; `level`: the nominal
    level that p was compared with in Holm's last step; `power`: predictive power at the best later look (None
    where nobody asked); `seeds_needed`: an estimate, for arms given up. One seed has neither test nor level.
    """

    arm: int
    round: int
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

    `looks`: all decisions in their order ("budget spent" and "screened out" repeat the arm's last look);
    `final`: the decision that ended each arm, by row; `wanted`: (row, seed index) that the next look needs,
    then those that the reference gets anyway, without those that have ended, in the order in which they
    should start; `awaited`: how many of them the next look needs; `ahead`: those that idle lanes may start
    meanwhile; `needed`: all that some look needs or has used, and the reference's; `finished`: every arm has
    ended and nothing is wanted.
    """

    looks: tuple[ArmLook, ...]
    final: dict[int, ArmLook]
    wanted: tuple[Cell, ...]
    awaited: int
    ahead: tuple[Cell, ...]
    needed: frozenset[Cell]
    finished: bool


def resolve(
    rule: ResolveRule,
    values: NDArray[np.float64],
    ended: NDArray[np.bool_],
    curves: NDArray[np.float64] | None = None,
) -> Course:
    """Follow the rule as far as the results go.

    Args:
        values: (1 + arms, most seeds), oriented; row 0 is the reference; NaN where a run has no value.
        ended: same shape; a run that ended without a value is an outcome of its arm and takes its place.
        curves: (1 + arms, seeds, rungs), the values at the rungs, the end included; None: nobody has any.

    Raises:
        ValueError: the arrays do not hold the seeds of the last look.
    """
    if values.shape != ended.shape or values.ndim != 2 or values.shape[1] < max(rule.looks[-1], rule.seeds):
        shapes = f"values {values.shape} and ended {ended.shape}"
        raise ValueError(f"{shapes} must both be (1 + arms, seeds of the last look)")
    walk = Walk(rule, values, curves)
    pending: dict[int, int] = {}
    wanted: list[Cell] = []
    while walk.active:
        pending = walk.goal.next_round(walk)
        if not pending:
            walk.give_up()
            break
        wanted = [cell for cell in _cells_of(pending, rule.base) if not ended[cell]]
        if wanted:
            break
        walk.take(pending)
        pending = {}
    awaited = len(wanted)
    told = max(rule.base, *pending.values()) if pending else 0
    wanted += [(0, s) for s in range(told, rule.reference) if not ended[0, s]]
    ahead = [cell for cell in walk.ahead(pending) if not ended[cell]] if pending else []
    return Course(
        looks=tuple(walk.looks),
        final=walk.final,
        wanted=tuple(wanted),
        awaited=awaited,
        ahead=tuple(ahead),
        needed=frozenset(walk.needed(pending)),
        finished=not wanted,
    )


def _cells_of(pending: dict[int, int], base: int) -> list[Cell]:
    """Return what a round needs, seed by seed with the reference first, so that pairs complete early.

    The reference's first two seeds come before all others: they show whether the entrypoint uses its seed.
    """
    most = max(base, *pending.values())
    cells = [(row, s) for row, number in {0: most, **pending}.items() for s in range(number)]
    return sorted(cells, key=lambda cell: (cell[0] > 0 or cell[1] > 1, cell[1], cell[0]))


@lru_cache(maxsize=4096)
def _questions(rule: ResolveRule, family: int, equivalence_family: int) -> tuple[Question, ...]:
    """Return what each look asks of an arm that is open, then what a study asks that looks once."""
    alphas = rule.alpha / family, 2 * rule.alpha / equivalence_family
    different, equivalent = ((*rule.levels(alpha), min(alpha, 1.0)) for alpha in alphas)
    return tuple(Question(d, e, rule.margin) for d, e in zip(different, equivalent, strict=True))


class Walk:
    """The state of the rule between two rounds. Rows: 0 is the reference, then the arms.

    `active`: rows that have not ended and are not `parked`; `number`: seeds that the looks so far have seen,
    by row; `rounds`: how many there were.
    """

    def __init__(
        self, rule: ResolveRule, values: NDArray[np.float64], curves: NDArray[np.float64] | None = None
    ) -> None:
        self.rule = rule
        self.goal = goal_of(rule.goal)
        self.values, self.curves = values, curves
        self.arms = values.shape[0] - 1
        self.number = [0] * (self.arms + 1)
        self.active = list(range(1, self.arms + 1))
        self.parked: list[int] = []
        self.looks: list[ArmLook] = []
        self.final: dict[int, ArmLook] = {}
        self._latest: dict[int, ArmLook] = {}
        self._promises: ByRow = {}  # power per run at the best later look; 0 where nothing is known
        self.rounds = 0
        self._claimed: dict[Claim, int] = {"different": 0, "equivalent": 0}
        self._weights = np.hstack([-np.ones((self.arms, 1)), np.eye(self.arms)])
        self._valued = np.cumsum(~np.isnan(values), axis=1).tolist()  # runs with a value up to each seed

    def ahead(self, pending: dict[int, int]) -> Iterator[Cell]:
        """Yield what may run before a look asks for it: the nearest look first."""
        seen = [pending.get(row, number) for row, number in enumerate(self.number)]
        reference = max(self.rule.reference, self.number[0], *pending.values())
        for row, look in self.goal.ahead(self, pending):
            yield from ((0, seed) for seed in range(reference, look))
            yield from ((row, seed) for seed in range(seen[row], look))
            reference, seen[row] = max(reference, look), max(seen[row], look)

    def needed(self, pending: dict[int, int]) -> Iterator[Cell]:
        """Yield what the looks so far and the pending one have used, and the reference's own seeds."""
        numbers = [pending.get(row, number) for row, number in enumerate(self.number)]
        numbers[0] = max(self.rule.reference, *numbers)
        yield from ((row, seed) for row, number in enumerate(numbers) for seed in range(number))

    def next_look(self, row: int) -> int:
        """Return the seeds of the next look at an active arm."""
        look = self.rule.next_look(self.number[row])
        assert look is not None, "an arm ends at its last look"
        return look

    def affordable(self, taken: dict[int, int], most: int) -> dict[int, int]:
        """Up to `most` active arms beside `taken`, best first, whose next look the budget pays for."""
        budget = self.rule.seeds * (self.arms + 1)
        chosen: dict[int, int] = {}
        rows = [row for row in self.active if row not in taken]
        self._best_powers([self._latest[row] for row in rows if row not in self._promises])
        numbers = [taken.get(row, number) for row, number in enumerate(self.number)][1:]
        runs, largest = sum(numbers), max(self.rule.reference, *numbers)
        for row in sorted(rows, key=lambda row: (-self._promises[row], row)):
            look = self.next_look(row)
            with_it = runs + look - self.number[row]
            if with_it + max(largest, look) <= budget:
                chosen[row], runs, largest = look, with_it, max(largest, look)
                if len(chosen) == most:
                    break
        return chosen

    def take(self, pending: dict[int, int]) -> None:
        """Look at these arms: all their runs have ended."""
        for row, number in pending.items():
            self.number[row] = number
        self.number[0] = max(self.rule.base, *self.number)
        self.rounds += 1
        pairs = self._estimated()
        p = dict(enumerate(pairs.p.tolist(), start=1))
        actions: dict[int, Action] = {}
        levels = self._holm(pending, p, actions, "different", sides=1)
        equivalent: ByRow = {}
        if self.rule.margin is not None:
            equivalent = dict(enumerate(pairs.p_equivalent(self.rule.margin).tolist(), start=1))
            self._holm(pending, equivalent, actions, "equivalent", sides=2)
        drawn = list(self._drawn(pairs, p, levels, equivalent, actions))
        powers = self._best_powers([look for look in drawn if look.arm not in actions])
        for look in drawn:
            self._judge(look, actions.get(look.arm), powers.get(look.arm))
        if self.parked and not self.active:
            self._second_wave()

    def _estimated(self) -> Estimates:
        """Estimate every arm from the seeds that it has come to, however many there are."""
        visible = self._visible()
        curves = None if self.curves is None else self.curves[:, : self.number[0]]
        pooling = self.rule.pooling
        pairs = estimate(visible, self._weights, self.rule.variance, pooling, curves)
        return further_seeds(pairs, visible, self.number, pooling.reuse) if pooling.reuse else pairs

    def _visible(self) -> NDArray[np.float64]:
        """Return the values that the looks so far have seen, NaN elsewhere."""
        visible = self.values[:, : self.number[0]].copy()
        for row, number in enumerate(self.number):
            visible[row, number:] = np.nan
        return visible

    def _holm(
        self, rows: Iterable[int], p: ByRow, actions: dict[int, Action], claim: Claim, sides: int
    ) -> ByRow:
        """Judge by Holm among the arms without the claim so far: α of one that gets it is passed on.

        `sides`: 2 for equivalence, two one-sided tests with an α of their own. Returns the level that each
        arm was compared with last.
        """
        levels: ByRow = {}
        while left := [row for row in rows if row not in actions]:
            alpha = sides * self.rule.alpha / (self.arms - self._claimed[claim])
            levels.update((row, self.rule.level(self.number[row], alpha) / sides) for row in left)
            hits = [row for row in left if p[row] <= levels[row]]
            if not hits:
                break
            actions.update(dict.fromkeys(hits, claim))
            self._claimed[claim] += len(hits)
            self._promises.clear()
        return levels

    def _drawn(
        self, pairs: Estimates, p: ByRow, levels: ByRow, equivalent: ByRow, actions: dict[int, Action]
    ) -> Iterator[ArmLook]:
        """Yield the looks of this round, still without what they lead to."""
        columns = (
            pairs.n, pairs.mean, pairs.v, pairs.df, pairs.se, pairs.flagged, pairs.testable, pairs.unchanged
        )  # fmt: skip
        table = list(zip(*(column.tolist() for column in columns), strict=True))
        for row, level in levels.items():
            n, mean, v, df, se, flagged, testable, unchanged = table[row - 1]
            shown = self.rule.shown_level(number := self.number[row], level, actions.get(row))
            half = critical_t(shown, df) * se if testable else math.nan
            yield ArmLook(
                arm=row,
                round=self.rounds,
                number=number,
                n=n,
                mean=mean if math.isfinite(mean) else None,
                v=v if testable or unchanged else None,
                df=df if testable or unchanged else None,
                se=se if testable else None,
                p=p[row] if testable else None,
                lo=mean - half if testable else None,
                hi=mean + half if testable else None,
                level=level or None,
                p_equivalent=equivalent.get(row) if testable else None,
                power=None,
                seeds_needed=None,
                flagged=flagged,
                action="continue",
            )

    def _judge(self, look: ArmLook, action: Action | None, power: float | None) -> None:
        """End the arm or let it go on."""
        if action is None:
            look = look if power is None else replace(look, power=power)
            if look.number < self.rule.looks[0]:
                look = self._screened(look)
            elif look.number == self.rule.looks[-1]:
                action = "last look"
            elif self.rule.futility and (
                self._silent(look) or (power is not None and power < self.rule.futility)
            ):
                action = "futile"
        self._latest[look.arm] = look
        if action is None:
            self.looks.append(look)
        else:
            self._end(look, action)

    def _screened(self, look: ArmLook) -> ArmLook:
        """Park the arm if one seed shows less than seeds do; not where a run that this takes has failed."""
        assert self.rule.screen is not None, "only a screen looks at one seed"
        sd = spread(self.values[0, : self.rule.base])
        if look.mean is None or not abs(look.mean) < self.rule.screen.park_below * sd:
            return look
        self.active.remove(look.arm)
        self.parked.append(look.arm)
        return replace(look, action="parked")

    def _second_wave(self) -> None:
        """Let parked arms go on that further seeds would probably resolve; the others end.

        An arm with one seed has no variance of its own: it gets that of all runs so far.
        """
        assert self.rule.screen is not None, "only a screen parks"
        s2e, dfe = additive_fit(self._visible())
        v = 2 * s2e if math.isfinite(s2e) else 0.0
        df = min(self.rule.pooling.borrow[-1], max(dfe, 1))
        powers = self._best_powers([replace(self._latest[row], v=v, df=df) for row in self.parked])
        self.active, self.parked = self.parked, []
        for row in tuple(self.active):
            if (power := powers[row] or 0.0) < self.rule.screen.come_back:
                self._end(replace(self._latest[row], power=power), "screened out")

    def _silent(self, look: ArmLook) -> bool:
        """Whether every run so far of the arm, or of the reference, has failed: more would fail, too."""
        seen = ((0, max(self.rule.base, look.number)), (look.arm, look.number))
        return not all(self._valued[row][number - 1] for row, number in seen)

    def _end(self, look: ArmLook, action: Action) -> None:
        given_up = action not in ("different", "equivalent")
        last = replace(look, action=action, seeds_needed=self._seeds_needed(look) if given_up else None)
        self.looks.append(last)
        self.final[look.arm] = last
        self.active.remove(look.arm)

    def give_up(self) -> None:
        """Leave what is still active unresolved: the budget is spent."""
        for row in tuple(self.active):
            self._end(self._latest[row], "budget spent")

    def _best_powers(self, looks: list[ArmLook]) -> dict[int, float | None]:
        """Return how likely each of these open arms is resolved by its best later look; None: unknown."""
        if not looks:
            return {}
        arms = [look.arm for look in looks]
        rows = [(look.mean, look.v, look.df, look.n, look.number) for look in looks]
        d, v, df, n, number = np.array(rows, dtype=float).T
        more = np.array(self.rule.looks) - number[:, None]
        power = predictive_power(self._questions()[:-1], d, v, df, n, more)
        promises = np.fmax(power / np.maximum(1, more), 0.0).max(axis=1).tolist()
        self._promises.update(zip(arms, promises, strict=True))  # as of its last look and the latest claim
        best = np.fmax(power, -1.0).max(axis=1).tolist()
        return {arm: None if power < 0 else power for arm, power in zip(arms, best, strict=True)}

    def _questions(self) -> tuple[Question, ...]:
        return _questions(self.rule, *(self.arms - number for number in self._claimed.values()))

    def _seeds_needed(self, look: ArmLook) -> int | None:
        if look.mean is None or look.v is None or look.df is None:
            return None
        return seeds_needed(self._questions()[-1], look.mean, look.v, look.df - (look.n - 1))
