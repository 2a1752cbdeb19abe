"""From a baseline and its components to arms: leave-one-out and add-one-in."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.study import references
from orchestrator.study.faults import Problem, nearest, raise_problems, show
from orchestrator.study.identity import canonical
from orchestrator.study.spec import StudySpec
from orchestrator.study.yamlfile import Path

BASELINE = "baseline"
STRIPPED = "stripped"
_WORDS_FOR_BOOLEANS = {"on": True, "yes": True, "y": True, "off": False, "no": False, "n": False}


@dataclass(frozen=True)
class Arm:
    """One configuration to be compared: its difference from the baseline, and the config that results.

    `kind` is reference, without, swap, only, pair or combination; `set` holds dotted keys; `config` is nested,
    with references resolved, without `seed` and `max_length`. `parts` names the components that the arm takes
    away together (pair, combination), or is empty.
    """

    name: str
    component: str | None
    kind: str
    set: Mapping[str, Any]
    config: Mapping[str, Any]
    why: str | None = None
    parts: tuple[str, ...] = ()


def expand_arms(spec: StudySpec) -> tuple[Arm, ...]:
    """All arms of the study, the reference arm first.

    Raises:
        StudyError: every arm that cannot be built, changes nothing, or equals another.
    """
    arms, problems = build_arms(spec)
    raise_problems(problems)
    return arms


def build_arms(spec: StudySpec) -> tuple[tuple[Arm, ...], list[Problem]]:
    """The arms that can be built, and every problem with their addresses in the study file."""
    drafts, problems = _drafts(spec)
    context = {key: value for key, value in spec.to_dict().items() if key in references.SECTIONS}
    _, broken = references.resolve({**context, "baseline": spec.baseline}, ["baseline"])
    problems = broken + problems
    if broken:  # each arm would repeat what is wrong with the baseline
        return (), problems
    arms: list[Arm] = []
    seen: dict[str, str] = {}
    for draft in drafts:
        config = apply(spec.baseline, draft.changes)
        resolved, faults = references.resolve({**context, "baseline": config}, ["baseline"])
        problems += [Problem(draft.path, fault.message, fault.value, fault.hint) for fault in faults]
        if faults:
            continue
        arm_config = resolved["baseline"]
        changes = {key: lookup(arm_config, key) for key in draft.changes}
        arms.append(Arm(draft.name, draft.component, draft.kind, changes, arm_config, draft.why))
        same = canonical(_normal(arm_config))
        if same not in seen:
            seen[same] = draft.name
        elif draft.kind != "reference":
            problems.append(_same_problem(draft, seen[same], arms[0].name))
    return tuple(arms), problems


@dataclass(frozen=True)
class _Draft:
    name: str
    component: str | None
    kind: str
    changes: dict[str, Any]
    path: Path
    why: str | None = None


def _same_problem(draft: _Draft, other: str, reference: str) -> Problem:
    values = ", ".join(f"{key} = {show(value)}" for key, value in list(draft.changes.items())[:5])
    if other == reference:
        message = f"the arm {draft.name} changes nothing: it equals {reference}"
        return Problem(
            draft.path, message, value=values or None, hint="give a value that differs from the baseline's"
        )
    return Problem(
        draft.path, f"the arm {draft.name} equals the arm {other}", value=values, hint="remove one of them"
    )


def _drafts(spec: StudySpec) -> tuple[list[_Draft], list[Problem]]:
    """What each arm changes. Arms whose changes are faulty are left out."""
    problems: list[Problem] = []
    without: dict[str, dict[str, Any]] = {}
    swaps: dict[str, dict[str, dict[str, Any]]] = {}
    for name, component in spec.components.items():
        path: Path = ("components", name)
        if component.without is not None:
            changes, faults = flat_changes(spec.baseline, component.without, (*path, "without"))
            problems += faults
            if not faults:
                without[name] = changes
        for alternative, given in (component.swap or {}).items():
            changes, faults = flat_changes(spec.baseline, given, (*path, "swap", alternative))
            problems += faults
            if not faults:
                swaps.setdefault(name, {})[alternative] = changes
    if spec.design == "add-one-in":
        return list(_add_one_in(spec, without, problems)), problems
    drafts = [_Draft(BASELINE, None, "reference", {}, ("baseline",))]
    for name, component in spec.components.items():
        if name in without:
            path = ("components", name, "without")
            drafts.append(_Draft(f"no-{name}", name, "without", without[name], path, component.why))
        for alternative, changes in swaps.get(name, {}).items():
            path = ("components", name, "swap", alternative)
            drafts.append(_Draft(f"{name}={alternative}", name, "swap", changes, path, component.why))
    return drafts, problems


def _add_one_in(
    spec: StudySpec, without: Mapping[str, dict[str, Any]], problems: list[Problem]
) -> Iterator[_Draft]:
    """`stripped` (every `without` applied), then one arm per component that has its own one back."""
    if not any(component.without is not None for component in spec.components.values()):
        message = "add-one-in needs at least one component with 'without': only those can be added"
        problems.append(Problem(("design",), message, hint="use design: leave-one-out for swaps"))
    owners: dict[str, str] = {}
    stripped: dict[str, Any] = {}
    for name, changes in without.items():
        for key, value in changes.items():
            other = next((taken for taken in owners if _overlap(taken, key)), None)
            if other is None:
                owners[key] = name
                stripped[key] = value
                continue
            message = f"{name} and {owners[other]} both change {key}, so that they cannot be added one by one"
            path: Path = ("components", name, "without", key)
            problems.append(Problem(path, message, hint="join the two components, or use leave-one-out"))
    yield _Draft(STRIPPED, None, "reference", stripped, ("design",))
    for name in without:
        changes = {key: value for key, value in stripped.items() if owners[key] != name}
        path = ("components", name, "without")
        yield _Draft(f"only-{name}", name, "only", changes, path, spec.components[name].why)


def flat_changes(
    config: Mapping[str, Any], given: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], list[Problem]]:
    """The changes of one arm as dotted keys of existing settings.

    A mapping given for a setting that is a mapping changes inside it, it does not replace it.
    """
    changes: dict[str, Any] = {}
    problems: list[Problem] = []

    def add(key: str, value: Any, at: Path) -> None:
        current = lookup(config, key)
        if current is MISSING:
            problems.append(_missing_problem(config, key, at))
        elif isinstance(current, Mapping) and isinstance(value, Mapping) and value:
            for name, item in value.items():
                add(f"{key}.{name}", item, (*at, name))
        elif isinstance(current, bool) and isinstance(value, str) and value.lower() in _WORDS_FOR_BOOLEANS:
            meant = "true" if _WORDS_FOR_BOOLEANS[value.lower()] else "false"
            message = f"{key} is a boolean in the baseline, but the word {value!r} is none"
            problems.append(Problem(at, message, value=show(value), hint=f"write {meant}"))
        elif any(_overlap(taken, key) for taken in changes):
            problems.append(Problem(at, f"{key} is changed twice", hint="keep one of the two"))
        else:
            changes[key] = value

    if not given:
        problems.append(Problem(path, "changes nothing", hint="name a key of the baseline and its new value"))
    for key, value in given.items():
        add(key, value, (*path, key))
    return changes, problems


def _missing_problem(config: Mapping[str, Any], key: str, at: Path) -> Problem:
    if key.startswith("baseline.") and lookup(config, key.removeprefix("baseline.")) is not MISSING:
        hint = f"write {key.removeprefix('baseline.')}: the path begins inside the baseline"
    else:
        hint = nearest(key, dotted_keys(config))
    return Problem(at, f"the baseline has no key {key!r}", hint=hint)


MISSING = object()
"""What `lookup` returns for a key that is not there."""


def lookup(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, or MISSING."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def apply(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `config` with the values at the dotted keys exchanged; every key must exist."""
    result = copy.deepcopy(dict(config))
    for key, value in changes.items():
        *parents, last = key.split(".")
        target = result
        for part in parents:
            target = target[part]
        target[last] = copy.deepcopy(value)
    return result


def dotted_keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a nested config, mappings and leaves."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(other + ".") or other.startswith(one + ".")


def _normal(value: Any) -> Any:
    """The value with equal numbers made equal: 0 and 0.0 are no change."""
    if isinstance(value, Mapping):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
