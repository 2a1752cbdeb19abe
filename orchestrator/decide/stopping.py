"""What a stopping rule is: what it says about a study, its decision at a rung, its test on the seed axis.

A rule of another package subclasses `StoppingRule`, overrides what it does otherwise than `none`, and is
registered under an entry point of the group `orchestrator.stopping_rules`. The live engine, the agenda, the
report and the simulator ask the same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from orchestrator.decide.rungs import Alone, RungRule
from orchestrator.study.cells import TUNE, Cell
from orchestrator.study.methods import Sentence
from orchestrator.study.registered import RULES, StoppingTerms
from orchestrator.study.spec import StoppingSpec, StudySpec, TuneStopping

if TYPE_CHECKING:
    from orchestrator.decide.resolve import ResolveRule
    from orchestrator.stats.moderated import Pooling


Ladder = StoppingSpec | TuneStopping
"""Where the rungs are: `stopping` or `tune.stopping` of a study file."""


@dataclass(frozen=True)
class Variant:
    """A rule with other settings, which replays of recorded studies offer beside it.

    `stopping`, `report`: what it changes in these sections.
    """

    title: str
    stopping: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)


class StoppingRule(StoppingTerms):
    """How trials and seeds end early. As it stands: not at all, every run of the grid is made in full."""

    def at_rungs(self, stopping: Ladder, longest: float) -> RungRule:
        """Return what decides at rungs, for trials of the length `longest` in the study's unit.

        Args:
            stopping: the section of the study file, with the rule's own settings where it has some;
                `tune.stopping` while samples of one arm compete.
        """
        return Alone(self.name)

    def on_seeds(self, spec: StudySpec, arms: int) -> ResolveRule | None:
        """Return the sequential test for a family of `arms` beside the reference; None: all seeds run."""
        return None

    def pooling(self, spec: StudySpec) -> Pooling:
        """Return what a test that looks once, after all seeds, borrows from the other arms."""
        from orchestrator.stats.moderated import FIRST

        return FIRST

    def describe_rungs(self, spec: StudySpec, stopping: Ladder) -> str:
        """Say in words where trials may end, as `stopping` has it."""
        steps = ", ".join(f"{rung:.5g}" for rung in self.at_rungs(stopping, spec.stopping.max).rungs)
        return f"rungs at {steps} {spec.stopping.unit}s"

    def variants(self) -> Mapping[str, Variant]:
        """Return what replays offer beside the rule itself, by name."""
        return {}


class _None(StoppingRule):
    name = "none"
    title = "none (the grid)"
    version = 2

    def newest(self, spec: StudySpec) -> int:
        return self.version if spec.report.variance == "moderated" else 1  # versions differ in what they pool

    def pooling(self, spec: StudySpec) -> Pooling:
        from orchestrator.stats.moderated import FIRST, GRID

        return FIRST if self.version_of(spec) == 1 else GRID

    def describe(self, spec: StudySpec) -> str:
        return "none: every trial runs to its full length"

    def methods(self, spec: StudySpec, families: Sequence[int]) -> tuple[Sentence, ...]:
        return (Sentence("No run was stopped early, and effects were looked at once, after all seeds"),)


NONE = _None()


def stopping_rule(name: str) -> StoppingRule:
    """Return the rule of that name. Raises as `Registry.get` does."""
    return cast("StoppingRule", RULES.get(name))


def rule_of(spec: StudySpec) -> StoppingRule:
    """Return the rule that the evaluation of a study is under."""
    return stopping_rule(spec.stopping.rule)


@dataclass(frozen=True)
class Competition:
    """What decides about a cell at rungs, and whom it is compared with; `protected`: it is never stopped."""

    rule: RungRule
    group: str = ""
    protected: bool = False


def competition(spec: StudySpec, reference: str, cell: Cell) -> Competition:
    """Find what decides about `cell` at a rung: samples compete with those of their arm, all others together.

    The reference arm is protected, except while it is tuned.
    """
    if cell.phase != TUNE:
        rule = rule_of(spec).at_rungs(spec.stopping, spec.stopping.max)
        return Competition(rule, protected=cell.arm == reference)
    if spec.tune is None:
        return Competition(NONE.at_rungs(spec.stopping, spec.stopping.max), f"{TUNE}:{cell.arm}")
    samples = stopping_rule(spec.tune.stopping.rule)
    return Competition(samples.at_rungs(spec.tune.stopping, spec.stopping.max), f"{TUNE}:{cell.arm}")


def shortest(spec: StudySpec) -> float | None:
    """Return how far trials get at least where a rule ends some early; None where none does.

    0.0 where seeds are skipped as a whole.
    """
    rule = rule_of(spec)
    if rule.drops_runs and not rule.stops_at_rungs:
        return 0.0
    ladders: list[Ladder] = [spec.stopping] if rule.stops_at_rungs else []
    if spec.tune is not None and stopping_rule(spec.tune.stopping.rule).stops_at_rungs:
        ladders.append(spec.tune.stopping)
    return min((float(ladder.grace) for ladder in ladders), default=None)
