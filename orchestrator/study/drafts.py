"""What each arm of a design changes, before it is known whether that makes a sound config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

from orchestrator.study.changes import flat_changes, shared_key
from orchestrator.study.combining import (
    CROSSED,
    Pair,
    away_labels,
    is_excluded,
    planned_pairs,
    possible_pairs,
)
from orchestrator.study.faults import Problem
from orchestrator.study.fractions import GENERATORS, Run, all_runs, fraction
from orchestrator.study.spec import StudySpec
from orchestrator.study.yamlfile import Path

BASELINE = "baseline"
STRIPPED = "stripped"


@dataclass(frozen=True)
class Draft:
    """One arm to be: its name, the dotted keys that it changes, and where the study file says so.

    `planned` is False for arms that are only checked: they may come later, or show a fault of a component.
    """

    name: str
    component: str | None
    kind: str
    changes: Mapping[str, Any]
    path: Path
    why: str | None = None
    parts: tuple[str, ...] = ()
    planned: bool = True


@dataclass(frozen=True)
class Singles:
    """The arms that change one component, in the order of the file, and what is wrong with the others."""

    drafts: tuple[Draft, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def of(cls, spec: StudySpec) -> Singles:
        drafts: list[Draft] = []
        problems: list[Problem] = []
        for name, component in spec.components.items():
            path: Path = ("components", name)
            levels = [(f"no-{name}", "without", component.without, (*path, "without"))]
            for alternative, given in (component.swap or {}).items():
                levels.append((f"{name}={alternative}", "swap", given, (*path, "swap", alternative)))
            for label, kind, values, at in levels:
                if values is None:
                    continue
                changes, faults = flat_changes(spec.baseline, values, at)
                problems += faults
                if not faults:
                    drafts.append(Draft(label, name, kind, changes, at, component.why))
        return cls(tuple(drafts), tuple(problems))

    def away(self, spec: StudySpec) -> dict[str, Draft]:
        """The arm that takes each component away, where there is a sound one."""
        labels = away_labels(spec)
        return {
            draft.component: draft
            for draft in self.drafts
            if draft.component is not None and draft.name == labels.get(draft.component)
        }


def design_drafts(spec: StudySpec, most_arms: int) -> tuple[list[Draft], list[Problem]]:
    """The arms of the study, the reference first; arms whose changes are faulty are left out.

    A factorial design ends after `most_arms` arms: more than that is refused anyway.
    """
    singles = Singles.of(spec)
    problems = list(singles.problems)
    if spec.design == "add-one-in":
        return list(_add_one_in(spec, singles, problems)), problems
    drafts = [Draft(BASELINE, None, "reference", {}, ("baseline",))]
    if spec.design in CROSSED:
        drafts += _crossed(spec, singles, most_arms, problems)
        return drafts, problems
    drafts += singles.drafts
    drafts += pair_drafts(spec, planned_pairs(spec), singles, problems)
    if spec.interactions == "auto" and spec.design == "leave-one-out":
        drafts += pair_drafts(spec, possible_pairs(spec), singles, problems, planned=False)
    return drafts, problems


def pair_drafts(
    spec: StudySpec, pairs: Iterable[Pair], singles: Singles, problems: list[Problem], *, planned: bool = True
) -> Iterator[Draft]:
    """One arm per pair that takes both components away; pairs that change the same key are a problem."""
    away = singles.away(spec)
    for one, other in pairs:
        if one not in away or other not in away:
            continue  # its own fault is told where it stands
        path = _place_of_pair(spec, (one, other))
        problem = _clash(spec, away[one], away[other], path)
        if problem is not None:
            problems.append(problem)
        else:
            yield _joined((away[one], away[other]), "pair", path, planned)


def _joined(drafts: Sequence[Draft], kind: str, path: Path, planned: bool = True) -> Draft:
    changes = {key: value for draft in drafts for key, value in draft.changes.items()}
    parts = tuple(str(draft.component) for draft in drafts)
    return Draft("+".join(draft.name for draft in drafts), None, kind, changes, path, None, parts, planned)


def _place_of_pair(spec: StudySpec, pair: Pair) -> Path:
    if isinstance(spec.interactions, str):
        return ("design",) if spec.interactions == "none" else ("interactions",)
    listed = [set(given) for given in spec.interactions]
    return ("interactions", listed.index(set(pair))) if set(pair) in listed else ("design",)


def _clash(spec: StudySpec, one: Draft, other: Draft, path: Path) -> Problem | None:
    key = shared_key(one.changes, other.changes)
    if key is None:
        return None
    message = f"{one.component} and {other.component} both change {key}: they cannot be taken away together"
    pair = f"[{one.component}, {other.component}]"
    if spec.design == "fractional":
        hint = "join the two components, or use design: factorial with exclude"
    elif path[0] == "interactions" and len(path) > 1:
        hint = "remove this pair"
    else:
        hint = f"add {pair} to exclude, or join the two components"
    return Problem(path, message, hint=hint)


def _crossed(spec: StudySpec, singles: Singles, most_arms: int, problems: list[Problem]) -> Iterator[Draft]:
    """All combinations, or a fraction of them; components with more than two levels are a problem."""
    before = len(problems)
    problems += _level_problems(spec)
    names = list(spec.components)
    if spec.design == "fractional" and len(names) not in GENERATORS:
        message = f"fractional takes {min(GENERATORS)} to {max(GENERATORS)} components, here are {len(names)}"
        few = len(names) < min(GENERATORS)
        hint = "use design: factorial" if few else "use design: leave-one-out, or join components"
        problems.append(Problem(("design",), message, hint=hint))
    away = singles.away(spec)
    for one, other in combinations(away, 2):
        if not is_excluded(spec, (one, other)):
            problem = _clash(spec, away[one], away[other], ("design",))
            problems += [problem] if problem else []
    if len(problems) > before or set(away) != set(names):
        yield from away.values()  # the faults of single components are found all the same
        return
    if spec.design == "fractional":
        runs: Iterable[Run] = fraction(names)
        yield from (_only_checked(draft) for draft in away.values())
    else:
        runs = islice(all_runs(names, spec.exclude), most_arms + 1)
    for run in runs:
        if len(run) == 1:
            yield away[run[0]]
        elif run:
            yield _joined([away[name] for name in run], "combination", ("design",))


def _only_checked(draft: Draft) -> Draft:
    return Draft(draft.name, draft.component, draft.kind, draft.changes, draft.path, draft.why, (), False)


def _level_problems(spec: StudySpec) -> Iterator[Problem]:
    for name, component in spec.components.items():
        alternatives = len(component.swap or {})
        if alternatives + (component.without is not None) > 1:
            message = f"{spec.design} takes components with 'without' or one alternative, not both or several"
            hint = "leave one of them, or use design: leave-one-out"
            yield Problem(("components", name), message, f"{alternatives} alternatives", hint)


def _add_one_in(spec: StudySpec, singles: Singles, problems: list[Problem]) -> Iterator[Draft]:
    """`stripped` (every `without` applied), then one arm per component that has its own one back."""
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
            message = f"{name} and {owners[other]} both change {key}, so that they cannot be added one by one"
            path: Path = ("components", name, "without", key)
            problems.append(Problem(path, message, hint="join the two components, or use leave-one-out"))
    yield Draft(STRIPPED, None, "reference", stripped, ("design",))
    for name, draft in removals.items():
        changes = {key: value for key, value in stripped.items() if owners[key] != name}
        yield Draft(f"only-{name}", name, "only", changes, draft.path, draft.why)
