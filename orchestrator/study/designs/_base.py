"""What a design is: the arms that it makes of components, and the effects that it estimates from them.

A design of another package subclasses `Design` and is registered under an entry point of the group
`orchestrator.designs`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence

from orchestrator.study.designs._combining import Pair, listed_pairs
from orchestrator.study.designs._contrasts import Contrast, differences
from orchestrator.study.designs._drafts import Draft, Singles
from orchestrator.study.designs._fractions import AliasSet
from orchestrator.study.faults import Path, Problem
from orchestrator.study.methods import Sentence
from orchestrator.study.plan import Arm
from orchestrator.study.spec import StudySpec


class Design(ABC):
    """How arms are made of components. `name`: as `design` in a study file names it.

    `crossed`: effects are averages over all runs, not comparisons with the reference arm, so that each run is
    needed; `compares`: each main effect is one arm minus the reference, as sequential rules and replays take
    it; `grows`: an effect stays what it is when components are added; `strips`: the reference is not the
    baseline as the file has it; `chooses_pairs`: results may call for pairs of arms (`interactions: auto`);
    `every_pair`: it has all of them from the start; `many_arms`: it has more arms than components.
    """

    name: str
    crossed: bool = False
    compares: bool = True
    grows: bool = False
    strips: bool = False
    chooses_pairs: bool = False
    every_pair: bool = False
    many_arms: bool = False

    @abstractmethod
    def drafts(
        self, spec: StudySpec, singles: Singles, most_arms: int, problems: list[Problem]
    ) -> Iterator[Draft]:
        """Make the arms, the reference first; what is wrong is added to `problems`, and left out.

        Args:
            singles: the arms that change one component.
            most_arms: more than that are refused anyway, so that a design may end there.
        """

    def contrasts(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Contrast, ...]:
        """List the effects, main ones first, then interactions; each in the order of the arms.

        `arms`: the study's, the reference first; later pair arms (`interactions: auto`) behind them.
        """
        return tuple(differences(spec, arms))

    def pairs(self, spec: StudySpec) -> tuple[Pair, ...]:
        """Choose the pairs of components whose interaction is estimated, of those that the study asks for."""
        return listed_pairs(spec)

    def exclude_problems(self, spec: StudySpec) -> Iterator[Problem]:
        """Find what is wrong with `exclude` in this design."""
        yield from ()

    def group_problem(self, spec: StudySpec, group: Collection[str], path: Path) -> Problem | None:
        """Find what is wrong with one entry of `exclude`, whose components are known."""
        return None

    def interaction_problem(self, spec: StudySpec) -> Problem | None:
        """Find why interactions cannot be asked for as they are; None where they can."""
        return None

    def needs(self, spec: StudySpec, arms: int) -> tuple[int, bool]:
        """Count the arms of a study that has too many, and whether that is all; `arms` were made."""
        return arms, True

    def smaller(self, spec: StudySpec) -> str | None:
        """Say what to write for a study with fewer arms; None: nothing about the design."""
        return "design: leave-one-out" if self.many_arms else None

    def clash_hint(self, pair: str, path: Path) -> str:
        """Say what to do about two components, `[a, b]`, that change the same key; `path`: who wants both."""
        if path[0] == "interactions" and len(path) > 1:
            return "remove this pair"
        return f"add {pair} to exclude, or join the two components"

    def aliases(self, spec: StudySpec) -> tuple[AliasSet, ...]:
        """List the effects that cannot be told apart, by component."""
        return ()

    def methods(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Sentence, ...]:
        """Say for a paper which arms were compared; `arms`: the study's, the reference first."""
        return (Sentence(f"The design was {self.name}: {len(arms) - 1} arms beside the reference arm"),)
