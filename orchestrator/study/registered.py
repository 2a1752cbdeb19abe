"""Stopping rules, goals, designs and searches by name; what a rule says about a study before anything runs.

How a rule decides is `decide.stopping.StoppingRule`, the class that a rule is written as; here is the part
that a study file is checked by. The tables say where the built-in ones are: none is imported before a study
uses it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from orchestrator.study.faults import Problem, unused_problems
from orchestrator.study.methods import Publication, Sentence
from orchestrator.study.plugins import Registry

if TYPE_CHECKING:
    from orchestrator.study.designs import Design
    from orchestrator.study.search import Search
    from orchestrator.study.spec import StoppingSpec, StudySpec


Tier = Literal["full-length", "rung-only"]
"""What a study may claim: effects at full length, or none, since its rule compares runs before their end."""


class StoppingTerms(ABC):
    """What a stopping rule says about a study before it runs. `name`: as `stopping.rule` names it.

    `uses`: which of goal, max_seeds, looks, gamma and futility it has; `tier`: what its studies may claim;
    `stops_at_rungs`: it ends trials at rungs, the first at `grace`; `drops_runs`: not every run is made in
    full; `sequential`: it looks at the effects on the way (`looks`), and its levels hold for the seeds that
    were registered before the first run: none can be added; `settings`: a subclass of StoppingSpec where
    `stopping` has settings of the rule's own; `version`: counts changes of what it decides, and is part of
    what is registered from 2 on, as `version_key`; `published`: where it comes from.
    """

    name: str
    version: int = 1
    version_key: str = "rule_version"
    uses: frozenset[str] = frozenset()
    tier: Tier = "full-length"
    stops_at_rungs: bool = False
    drops_runs: bool = False
    sequential: bool = False
    published: tuple[Publication, ...] = ()

    settings: type[StoppingSpec] | None = None

    @property
    def for_samples(self) -> bool:
        """Whether samples of a search may be under it: `tune.stopping` has no settings of a rule's own."""
        return self.settings is None and (self.stops_at_rungs or not self.drops_runs)

    @property
    def title(self) -> str:
        """The rule in a table of several."""
        return self.name if self.tier == "full-length" else f"{self.name} ({self.tier})"

    def problems(self, spec: StudySpec) -> Iterator[Problem]:
        """Find what is wrong with a study that uses the rule, beside what one setting says about itself."""
        yield from ()

    def goal(self, spec: StudySpec) -> GoalTerms | None:
        """Return what becomes of seeds that are left over; None where the rule leaves none."""
        return None

    def newest(self, spec: StudySpec) -> int:
        """Return the version that a new study with these settings is under."""
        return self.version

    def version_of(self, spec: StudySpec) -> int:
        """Return the version that a study is under."""
        given = spec.stopping.version
        return self.newest(spec) if given == "auto" or spec.stopping.rule != self.name else given

    def most_seeds(self, spec: StudySpec) -> int:
        """Count the seeds that an arm may get: those of the file, or more where the rule adds some."""
        return len(spec.seeds)

    def looks(self, spec: StudySpec) -> tuple[int, ...]:
        """Return the numbers of seeds after which effects are looked at; empty: once, at the end."""
        return ()

    def registered(self, spec: StudySpec) -> dict[str, Any]:
        """Return what is fixed before the first run beside metric, seeds, levels; every `auto` worked out."""
        return {}

    @abstractmethod
    def describe(self, spec: StudySpec) -> str:
        """Say in a line how studies end before their grid is full."""

    def methods(self, spec: StudySpec, families: Sequence[int]) -> tuple[Sentence, ...]:
        """Say for a paper how runs and seeds ended early; `families`: numbers of arms that are corrected "
        "together."""
        return (Sentence(f"The stopping rule was {self.describe(spec)}"),)


class GoalTerms(ABC):
    """What becomes of the seeds that resolved arms leave over, as far as a study file is concerned.

    `name`: as `stopping.goal` names it; `left_over`: what becomes of them, in words; `budgeted`: the plan has
    more seeds than are paid for, so that cells which never ran have saved nothing; `fewest_arms`: how many it
    needs beside the reference; `version`: as of a rule.
    """

    name: ClassVar[str]
    left_over: ClassVar[str]
    version: ClassVar[int] = 1
    budgeted: ClassVar[bool] = False
    fewest_arms: ClassVar[int] = 1

    def problems(self, spec: StudySpec) -> Iterator[Problem]:
        """Find what is wrong with a study that has this goal."""
        if not self.budgeted:
            when = f"with goal: {' or '.join(GOALS.names(lambda goal: goal.budgeted))}"
            yield from unused_problems(spec.stopping, ("stopping",), ("max_seeds",), when)

    def most_seeds(self, max_seeds: int, seeds: int) -> int:
        """Count the seeds that an arm may get, of `seeds` in the file."""
        return max(max_seeds, seeds) if self.budgeted else seeds

    def methods(self, spec: StudySpec) -> tuple[Sentence, ...]:
        """Say for a paper what became of seeds that were left over."""
        return (Sentence(f"Runs that arms did not need any more were {self.left_over}"),)


RULES: Registry[StoppingTerms] = Registry(
    "stopping rule",
    "orchestrator.stopping_rules",
    {
        "none": "orchestrator.decide.stopping:NONE",
        "asha": "orchestrator.decide.asha:ASHA",
        "resolve": "orchestrator.decide.sequential:RESOLVE",
    },
    lambda thing: isinstance(thing, StoppingTerms),
)
GOALS: Registry[GoalTerms] = Registry(
    "goal",
    "orchestrator.goals",
    {
        "save": "orchestrator.decide.goals:SAVE",
        "screen": "orchestrator.decide.goals:SCREEN",
        "reinvest": "orchestrator.decide.goals:REINVEST",
    },
    lambda thing: isinstance(thing, GoalTerms),
)


def rule_of(spec: StudySpec) -> StoppingTerms:
    """Return the stopping rule of a study."""
    return RULES.get(spec.stopping.rule)


def _is(module: str, name: str) -> Callable[[object], bool]:
    """Whether something is of a class that is imported when that is asked."""
    return lambda thing: isinstance(thing, getattr(import_module(module), name))


DESIGNS: Registry[Design] = Registry(
    "design",
    "orchestrator.designs",
    {
        "leave-one-out": "orchestrator.study.designs._compared:LEAVE_ONE_OUT",
        "add-one-in": "orchestrator.study.designs._compared:ADD_ONE_IN",
        "pairs": "orchestrator.study.designs._compared:PAIRS",
        "factorial": "orchestrator.study.designs._crossed:FACTORIAL",
        "fractional": "orchestrator.study.designs._crossed:FRACTIONAL",
    },
    _is("orchestrator.study.designs", "Design"),
)


def design_of(spec: StudySpec) -> Design:
    """Return the design of a study."""
    return DESIGNS.get(spec.design)


SEARCHES: Registry[Search] = Registry(
    "search",
    "orchestrator.searches",
    {
        "grid": "orchestrator.study.search:GRID",
        "random": "orchestrator.study.search:RANDOM",
        "bayes": "orchestrator.decide.bayes:BAYES",
    },
    _is("orchestrator.study.search", "Search"),
)
