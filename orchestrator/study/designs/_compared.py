"""Designs whose effects are differences from one reference arm."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from orchestrator.study.changes import shared_key
from orchestrator.study.designs._base import Design
from orchestrator.study.designs._combining import Pair, chosen_later, listed_pairs, possible_pairs
from orchestrator.study.designs._drafts import REFERENCE, STRIPPED, Draft, Singles, pair_drafts
from orchestrator.study.faults import Path, Problem, show
from orchestrator.study.spec import StudySpec


class _LeaveOneOut(Design):
    name = "leave-one-out"
    grows = True
    chooses_pairs = True

    def drafts(
        self, spec: StudySpec, singles: Singles, most_arms: int, problems: list[Problem]
    ) -> Iterator[Draft]:
        yield REFERENCE
        yield from singles.drafts
        yield from pair_drafts(spec, self.pairs(spec), singles, problems)
        if self.chooses_pairs and chosen_later(spec):
            yield from pair_drafts(spec, possible_pairs(spec), singles, problems, planned=False)

    def smaller(self, spec: StudySpec) -> str | None:
        return "list the pairs in interactions" if chosen_later(spec) else None


class _Pairs(_LeaveOneOut):
    name = "pairs"
    chooses_pairs = False
    every_pair = True
    many_arms = True

    def pairs(self, spec: StudySpec) -> tuple[Pair, ...]:
        removable = [name for name, component in spec.components.items() if component.without is not None]
        every = possible_pairs(spec, [f"no-{name}" for name in removable])
        return tuple(dict.fromkeys((*every, *listed_pairs(spec))))

    def interaction_problem(self, spec: StudySpec) -> Problem | None:
        if not chosen_later(spec):
            return None
        message = "must not be auto with design: pairs, which runs every pair anyway"
        hint = "remove interactions, or use design: leave-one-out"
        return Problem(("interactions",), message, hint=hint)

    def smaller(self, spec: StudySpec) -> str | None:
        return Design.smaller(self, spec)


class _AddOneIn(Design):
    """`stripped` (every `without` applied), then one arm per component that has its own one back."""

    name = "add-one-in"
    strips = True

    def drafts(
        self, spec: StudySpec, singles: Singles, most_arms: int, problems: list[Problem]
    ) -> Iterator[Draft]:
        if not any(component.without is not None for component in spec.components.values()):
            message = "add-one-in needs at least one component with 'without': only those can be added"
            problems.append(Problem(("design",), message, hint="use design: leave-one-out for swaps"))
        owners: dict[str, str] = {}
        stripped: dict[str, Any] = {}
        removals = {str(draft.component): draft for draft in singles.drafts if draft.kind == "without"}
        for name, draft in removals.items():
            for key, value in draft.changes.items():
                other = next((taken for taken in owners if shared_key([taken], [key])), None)
                if other is None:
                    owners[key] = name
                    stripped[key] = value
                    continue
                both = f"{name} and {owners[other]} both change {key}"
                message = f"{both}, so that they cannot be added one by one"
                path: Path = ("components", name, "without", key)
                problems.append(Problem(path, message, hint="join the two components, or use leave-one-out"))
        yield Draft(STRIPPED, None, "reference", stripped, ("design",))
        for name, draft in removals.items():
            changes = {key: value for key, value in stripped.items() if owners[key] != name}
            yield Draft(f"only-{name}", name, "only", changes, draft.path, draft.why)

    def group_problem(self, spec: StudySpec, group: Collection[str], path: Path) -> Problem | None:
        if any(spec.components[name].without is None for name in group):
            return None
        message = "cannot be excluded in add-one-in: its reference takes all components away together"
        return Problem(path, message, show(list(group)), hint="use design: leave-one-out or pairs")

    def interaction_problem(self, spec: StudySpec) -> Problem | None:
        message = "are only defined where components are taken away from the baseline, not in add-one-in"
        return Problem(("interactions",), message, hint="use design: leave-one-out")


LEAVE_ONE_OUT, PAIRS, ADD_ONE_IN = _LeaveOneOut(), _Pairs(), _AddOneIn()
