"""What each arm of a design changes, before it is known whether that makes a sound config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.study.changes import flat_changes, shared_key
from orchestrator.study.designs._combining import Pair, away_labels
from orchestrator.study.faults import Path, Problem
from orchestrator.study.registered import design_of
from orchestrator.study.spec import StudySpec


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


REFERENCE = Draft("baseline", None, "reference", {}, ("baseline",))
"""The arm that changes nothing."""
STRIPPED = "stripped"


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
        """Return the arm that takes each component away, where there is a sound one."""
        by_name = {draft.name: draft for draft in self.drafts}
        return {part: by_name[label] for part, label in away_labels(spec).items() if label in by_name}


def pair_drafts(
    spec: StudySpec, pairs: Iterable[Pair], singles: Singles, problems: list[Problem], *, planned: bool = True
) -> Iterator[Draft]:
    """One arm per pair that takes both components away; pairs that change the same key are a problem."""
    away = singles.away(spec)
    for one, other in pairs:
        if one not in away or other not in away:
            continue  # its own fault is told where it stands
        path = _place_of_pair(spec, (one, other))
        if problem := clash(spec, away[one], away[other], path):
            problems.append(problem)
        else:
            yield joined((away[one], away[other]), "pair", path, planned)


def joined(drafts: Sequence[Draft], kind: str, path: Path, planned: bool = True) -> Draft:
    """One arm that makes the changes of several, which share no key."""
    changes = {key: value for draft in drafts for key, value in draft.changes.items()}
    parts = tuple(str(draft.component) for draft in drafts)
    return Draft("+".join(draft.name for draft in drafts), None, kind, changes, path, None, parts, planned)


def _place_of_pair(spec: StudySpec, pair: Pair) -> Path:
    if isinstance(spec.interactions, str):
        return ("design",) if spec.interactions == "none" else ("interactions",)
    listed = [set(given) for given in spec.interactions]
    return ("interactions", listed.index(set(pair))) if set(pair) in listed else ("design",)


def clash(spec: StudySpec, one: Draft, other: Draft, path: Path) -> Problem | None:
    """Return what is wrong with taking two components away together: they change the same key."""
    key = shared_key(one.changes, other.changes)
    if key is None:
        return None
    message = f"{one.component} and {other.component} both change {key}: they cannot be taken away together"
    pair = f"[{one.component}, {other.component}]"
    return Problem(path, message, hint=design_of(spec).clash_hint(pair, path))
