"""Designs whose effects are differences from one reference arm."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from orchestrator.study.changes import shared_key
from orchestrator.study.designs._base import Design
from orchestrator.study.designs._combining import Pair, chosen_later, listed_pairs, possible_pairs
from orchestrator.study.designs._drafts import REFERENCE, STRIPPED, Draft, Singles, pair_drafts
from orchestrator.study.faults import Path, Problem, show
from orchestrator.study.methods import Sentence
from orchestrator.study.plan import Arm
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

    def methods(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Sentence, ...]:
        reference, pairs = arms[0].name, sum(arm.kind == "pair" for arm in arms)
        compared, each = _compared(len(arms) - 1 - pairs, reference)
        text = (
            f"In a leave-one-out design {compared}, from which {each} differs in one component that is taken "
            "away or exchanged for an alternative"
        )
        return (Sentence(text), *([self._of_pairs(spec, pairs)] if pairs else []))

    def _of_pairs(self, spec: StudySpec, pairs: int) -> Sentence:
        if self.every_pair:
            whose = "for the interaction of every pair that can be taken away together"
        elif self.chooses_pairs and chosen_later(spec):
            whose = "for interactions of components that were chosen by their main effects"
        else:
            whose = "for interactions that were chosen before the first run"
        many = "1 further arm takes" if pairs == 1 else f"{pairs} further arms take"
        return Sentence(f"{many} two components away together, {whose}")


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

    def methods(self, spec: StudySpec, arms: Sequence[Arm]) -> tuple[Sentence, ...]:
        compared, each = _compared(len(arms) - 1, arms[0].name)
        text = (
            f"In an add-one-in design {compared}, in which the components are taken away together, and from "
            f"which {each} differs in one component that is put back"
        )
        return (Sentence(text),)


def _compared(arms: int, reference: str) -> tuple[str, str]:
    """Return how many arms were compared with what, and how each of them is called behind it."""
    counted, each = ("1 arm was", "it") if arms == 1 else (f"{arms} arms were", "each")
    return f"{counted} compared with the reference arm ({reference})", each


LEAVE_ONE_OUT, PAIRS, ADD_ONE_IN = _LeaveOneOut(), _Pairs(), _AddOneIn()
