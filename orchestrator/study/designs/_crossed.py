"""Designs whose effects come from all runs: every combination of components, or a fraction of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice

from orchestrator.study.designs._arms import cells_per_arm
from orchestrator.study.designs._base import Design
from orchestrator.study.designs._combining import (
    Pair,
    chosen_later,
    is_excluded,
    listed_pairs,
    possible_pairs,
)
from orchestrator.study.designs._contrasts import Contrast, least_squares
from orchestrator.study.designs._drafts import REFERENCE, Draft, Singles, clash, joined
from orchestrator.study.designs._fractions import GENERATORS, AliasSet, Run, aliases, all_runs, fraction
from orchestrator.study.faults import Path, Problem
from orchestrator.study.methods import Sentence
from orchestrator.study.plan import Arm
from orchestrator.study.publications import BOX_HUNTER
from orchestrator.study.spec import StudySpec


class Crossed(Design):
    """Arms that take several components away together; each component has two levels."""

    crossed = True
    compares = False
    partial = False
    """Whether single arms are left out: they are checked all the same, for faults of a component."""

    @abstractmethod
    def runs(self, spec: StudySpec, most_arms: int) -> Iterable[Run]:
        """Choose the combinations: each names the components that it takes away; the first takes none."""

    def count_problem(self, spec: StudySpec) -> Problem | None:
        """Find why the design does not exist for this number of components; None where it does."""
        return None

    def drafts(
        self, spec: StudySpec, singles: Singles, most_arms: int, problems: list[Problem]
    ) -> Iterator[Draft]:
        yield REFERENCE
        before = len(problems)
        problems += self._level_problems(spec)
        away = singles.away(spec)
        found = [self.count_problem(spec)]
        for one, other in combinations(away, 2):
            if not is_excluded(spec, (one, other)):
                found.append(clash(spec, away[one], away[other], ("design",)))
        problems += filter(None, found)
        if len(problems) > before or set(away) != set(spec.components):
            yield from away.values()  # the faults of single components are found all the same
            return
        if self.partial:
            yield from (replace(draft, planned=False) for draft in away.values())
        for run in self.runs(spec, most_arms):
            if len(run) == 1:
                yield away[run[0]]
            elif run:
                yield joined([away[name] for name in run], "combination", ("design",))

    def _level_problems(self, spec: StudySpec) -> Iterator[Problem]:
        for name, component in spec.components.items():
            alternatives = len(component.swap or {})
            if alternatives + (component.without is not None) > 1:
                wanted = "components with 'without' or one alternative, not both or several"
                hint = "leave one of them, or use design: leave-one-out"
                shown = f"{alternatives} alternatives"
                yield Problem(("components", name), f"{self.name} takes {wanted}", shown, hint)

    def contrasts(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Contrast, ...]:
        return tuple(least_squares(spec, arms, self.pairs(spec)))


class _Factorial(Crossed):
    name = "factorial"
    many_arms = True

    def runs(self, spec: StudySpec, most_arms: int) -> Iterable[Run]:
        return islice(all_runs(list(spec.components), spec.exclude), most_arms + 1)

    def pairs(self, spec: StudySpec) -> tuple[Pair, ...]:
        return possible_pairs(spec) if chosen_later(spec) else listed_pairs(spec)

    def needs(self, spec: StudySpec, arms: int) -> tuple[int, bool]:
        return (arms, False) if spec.exclude else (2 ** len(spec.components), True)

    def smaller(self, spec: StudySpec) -> str | None:
        names = list(spec.components)
        if len(names) not in GENERATORS or spec.exclude:
            return super().smaller(spec)
        runs = len(fraction(names))
        return f"design: fractional ({runs} arms, {runs * cells_per_arm(spec):,} cells)"

    def methods(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Sentence, ...]:
        components = len(spec.components)
        runs = f"all {len(arms)} combinations were run"
        if spec.exclude:
            runs = f"{len(arms)} combinations were run, all but those that were excluded beforehand"
        return (
            Sentence(f"In a full factorial design of {components} components, each with two levels, {runs}"),
        )


class _Fractional(Crossed):
    name = "fractional"
    partial = True

    def runs(self, spec: StudySpec, most_arms: int) -> Iterable[Run]:
        return fraction(list(spec.components))

    def count_problem(self, spec: StudySpec) -> Problem | None:
        names = list(spec.components)
        if len(names) in GENERATORS:
            return None
        message = f"fractional takes {min(GENERATORS)} to {max(GENERATORS)} components, here are {len(names)}"
        few = len(names) < min(GENERATORS)
        hint = "use design: factorial" if few else "use design: leave-one-out, or join components"
        return Problem(("design",), message, hint=hint)

    def pairs(self, spec: StudySpec) -> tuple[Pair, ...]:
        return ()

    def exclude_problems(self, spec: StudySpec) -> Iterator[Problem]:
        if spec.exclude:
            message = "is not possible with a fractional design: each of its runs is needed"
            yield Problem(("exclude",), message, hint="use design: factorial, or join the components")

    def interaction_problem(self, spec: StudySpec) -> Problem | None:
        message = "cannot be estimated in a fractional design: they are aliased with each other"
        return Problem(("interactions",), message, hint="use design: factorial, or remove interactions")

    def smaller(self, spec: StudySpec) -> str | None:
        return "design: leave-one-out"

    def methods(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Sentence, ...]:
        components = len(spec.components)
        design = (
            f"In a fractional factorial design of resolution IV {len(arms)} of the {2**components} "
            f"combinations of {components} components, each with two levels, were run"
        )
        aliased = (
            "In it no main effect is aliased with another one or with an interaction of two components, "
            "while interactions of two components are aliased with each other"
        )
        return (Sentence(design, (BOX_HUNTER,)), Sentence(aliased))

    def clash_hint(self, pair: str, path: Path) -> str:
        return "join the two components, or use design: factorial with exclude"

    def aliases(self, spec: StudySpec) -> tuple[AliasSet, ...]:
        names = tuple(spec.components)
        return aliases(names) if len(names) in GENERATORS else ()


FACTORIAL, FRACTIONAL = _Factorial(), _Fractional()
