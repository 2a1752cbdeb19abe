"""The stopping rule `resolve`: full-length seeds until each effect is resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.decide.stopping import StoppingRule, Variant
from orchestrator.study.faults import Problem, show
from orchestrator.study.methods import Sentence
from orchestrator.study.publications import ARMITAGE, HOLM, KIM_DEMETS, MAURER_BRETZ
from orchestrator.study.registered import GOALS, GoalTerms
from orchestrator.study.spec import StudySpec

if TYPE_CHECKING:
    from orchestrator.decide.goals import Terms
    from orchestrator.decide.resolve import ResolveRule


class _Resolve(StoppingRule):
    name = "resolve"
    uses = frozenset({"goal", "max_seeds", "looks", "gamma", "futility"})
    drops_runs = True
    sequential = True
    version_key = "goal_version"

    def newest(self, spec: StudySpec) -> int:
        # without a pool there is nothing in which versions differ for the better
        return self.goal(spec).version if spec.report.variance == "moderated" else 1

    def terms(self, spec: StudySpec) -> Terms:
        """Return what the study's version of the goal fixes."""
        from orchestrator.decide.goals import goal_of

        return goal_of(spec.stopping.goal).terms(self.version_of(spec))

    def problems(self, spec: StudySpec) -> Iterator[Problem]:
        stopping = spec.stopping
        if len(spec.seeds) < 2:
            message = "one seed says nothing about the spread between seeds, which resolve judges by"
            hint = "use seeds: 5, or stopping.rule: none"
            yield Problem(("seeds",), message, show(list(spec.seeds)), hint)
            return
        goal = self.goal(spec)
        faults = list(goal.problems(spec))
        yield from faults
        most = self.most_seeds(spec)
        if faults and goal.budgeted:
            return
        if stopping.looks != "auto" and stopping.looks[-1] != most:
            source = "max_seeds" if goal.budgeted else "the number of seeds"
            message = f"must end with {most}, {source}: there is always a look when an arm has all its seeds"
            below = [look for look in stopping.looks if look < most]
            path = ("stopping", "looks")
            yield Problem(path, message, show(stopping.looks), hint=f"use {[*below, most]}")

    def goal(self, spec: StudySpec) -> GoalTerms:
        return GOALS.get(spec.stopping.goal)

    def most_seeds(self, spec: StudySpec) -> int:
        return self.goal(spec).most_seeds(spec.stopping.max_seeds, len(spec.seeds))

    def looks(self, spec: StudySpec) -> tuple[int, ...]:
        given = spec.stopping.looks
        if given != "auto":
            return given
        found, seeds = self.terms(spec).looks_up_to(self.most_seeds(spec)), len(spec.seeds)
        # with goal: reinvest the budget is the seeds of the file: it has to pay for the first look at least
        return found if found[0] <= seeds else (seeds, *found)

    def gamma(self, spec: StudySpec) -> float:
        """Return the exponent of the spending function α·t^γ."""
        given = spec.stopping.gamma
        return self.terms(spec).gamma_for(self.most_seeds(spec)) if given == "auto" else float(given)

    def registered(self, spec: StudySpec) -> dict[str, Any]:
        stopping = spec.stopping
        return {
            "goal": stopping.goal,
            "looks": list(self.looks(spec)),
            "gamma": self.gamma(spec),
            "futility": stopping.futility,
        }

    def describe(self, spec: StudySpec) -> str:
        futility = spec.stopping.futility
        given_up = f", given up below {futility:.0%} chance of that" if futility else ""
        resolved = f"resolve: no more seeds for an arm whose effect is resolved{given_up}"
        return f"{resolved}; what is left over is {self.goal(spec).left_over}"

    def on_seeds(self, spec: StudySpec, arms: int) -> ResolveRule:
        from orchestrator.decide.goals import few_arms
        from orchestrator.decide.resolve import ResolveRule

        terms, few = self.terms(spec), few_arms(arms)
        margin = spec.report.margin  # in the metric's units, which orienting does not change
        return ResolveRule(
            looks=self.looks(spec),
            seeds=len(spec.seeds),
            alpha=spec.report.alpha,
            gamma=self.gamma(spec),
            futility=spec.stopping.futility,
            margin=None if margin is None else float(margin),
            goal=spec.stopping.goal,
            variance=spec.report.variance,
            few_arms=few,
            base=min(terms.base, len(spec.seeds)),
            pooling=terms.pooling,
            # arms that are added later may be too few of them, a replay may pool nothing
            screen=None if few or spec.report.variance == "per_arm" else terms.screen,
        )

    def methods(self, spec: StudySpec, families: Sequence[int]) -> tuple[Sentence, ...]:
        rules = [self.on_seeds(spec, arms) for arms in families or (1,)]
        if len(rules[0].looks) == 1 and rules[0].screen is None:
            return (*_of_one_look(rules[0]), _of_reference(rules[0]))
        shared = (
            "Within a look, levels were shared among the arms of a family after Holm, and what an arm that "
            "was declared different had of the level was passed on to those that were still open"
        )
        return (
            *_of_looks(rules[0]),
            *_of_levels(rules),
            Sentence(shared, (HOLM, MAURER_BRETZ)),
            _of_reference(rules[0]),
            *self.goal(spec).methods(spec),
        )

    def variants(self) -> Mapping[str, Variant]:
        goals = {
            name: Variant(f"resolve, {name}", {"goal": name, "looks": "auto", "gamma": "auto"})
            for name in GOALS
        }
        strict = Variant("resolve, variance: per_arm", report={"variance": "per_arm"})
        return {**goals, "strict": strict}


def _of_one_look(rule: ResolveRule) -> Iterator[Sentence]:
    yield Sentence(
        f"No run was stopped before its full length, and effects were looked at once, after "
        f"{rule.looks[0]} seeds"
    )
    yield Sentence("Levels were shared among the arms of a family after Holm", (HOLM,))


def _of_looks(rule: ResolveRule) -> Iterator[Sentence]:
    numbers = " and ".join(filter(None, [", ".join(map(str, rule.looks[:-1])), str(rule.looks[-1])]))
    yield Sentence(
        f"No run was stopped before its full length, and effects were looked at after {numbers} seeds"
    )
    resolved = "declared different" + ("" if rule.margin is None else " or practically equivalent")
    given_up = (
        "; no arm was given up before its last look"
        if not rule.futility
        else f", or once its predictive power (chance to be so at a later look) fell below {rule.futility:g}"
    )
    yield Sentence(f"An arm got no more seeds once it was {resolved}{given_up}")


def _of_levels(rules: Sequence[ResolveRule]) -> Iterator[Sentence]:
    """Say how α was spent, and how the levels of the looks follow, which small families do otherwise."""
    first, strict = rules[0], [rule.strict for rule in rules]
    last = first.looks[-1]
    spent = f"Of the level α = {first.alpha:g} the share (n/{last}) to the power of {first.gamma:g} was spent"
    yield Sentence(f"{spent} after n of at most {last} seeds", (KIM_DEMETS,))
    union = "were its increments, which hold by the union bound"
    recursion = "were found by recursive integration for normal scores and applied to p-values of t-tests"
    if all(strict):
        yield Sentence(f"The nominal levels of the looks {union}")
        return
    small = f"; those of families with fewer arms {union}" if any(strict) else ""
    yield Sentence(f"The nominal levels of the looks {recursion}{small}", (ARMITAGE,))


def _of_reference(rule: ResolveRule) -> Sentence:
    if not rule.base:
        return Sentence(f"The reference arm was to be run under all {rule.seeds} seeds of the study")
    further = ""
    if rule.pooling.reuse:
        further = ", and its seeds beyond those of an arm enter the arm's difference with a fixed weight"
    return Sentence(
        f"The reference arm was run under its first {rule.base} seeds in any case, and under more where an "
        f"arm came to more{further}"
    )


RESOLVE = _Resolve()
