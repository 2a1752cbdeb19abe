"""Dotted keys: reading them, changing the settings that they name, and what is wrong with given changes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.study.faults import Path, Problem, nearest, show

_WORDS_FOR_BOOLEANS = dict.fromkeys(("on", "yes", "y"), "true") | dict.fromkeys(("off", "no", "n"), "false")

MISSING = object()
"""What `lookup` returns for a key that is not there."""


def lookup(config: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, or MISSING."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def apply(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `config` with the values at the dotted keys exchanged; every key must exist."""
    result = copy.deepcopy(dict(config))
    for key, value in changes.items():
        *parents, last = key.split(".")
        target = result
        for part in parents:
            target = target[part]
        target[last] = copy.deepcopy(value)
    return result


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a nested config with its dotted key; an empty mapping is a value."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def dotted_keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted key of a nested config, mappings and leaves."""
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")


def overlap(one: str, other: str) -> bool:
    """Whether two dotted keys are equal or one lies inside the other."""
    return one == other or one.startswith(other + ".") or other.startswith(one + ".")


def shared_key(one: Iterable[str], other: Iterable[str]) -> str | None:
    """Return the first key of `other` that overlaps with one of `one`, or None."""
    taken = list(one)
    return next((key for key in other if any(overlap(key, item) for item in taken)), None)


def flat_changes(
    config: Mapping[str, Any], given: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the changes of one arm as dotted keys of existing settings.

    A mapping given for a setting that is a mapping changes inside it, it does not replace it.
    """
    changes: dict[str, Any] = {}
    problems: list[Problem] = []

    def add(key: str, value: Any, at: Path) -> None:
        current = lookup(config, key)
        if current is MISSING:
            problems.append(missing_problem(config, key, at))
        elif isinstance(current, Mapping) and isinstance(value, Mapping) and value:
            for name, item in value.items():
                add(f"{key}.{name}", item, (*at, name))
        elif (problem := word_problem(key, current, value, at)) is not None:
            problems.append(problem)
        elif shared_key(changes, [key]):
            problems.append(Problem(at, f"{key} is changed twice", hint="keep one of the two"))
        else:
            changes[key] = value

    if not given:
        problems.append(Problem(path, "changes nothing", hint="name a key of the baseline and its new value"))
    for key, value in given.items():
        add(key, value, (*path, key))
    return changes, problems


def missing_problem(config: Mapping[str, Any], key: str, at: Path) -> Problem:
    """`key` is not in the baseline; the hint names the nearest that is."""
    if key.startswith("baseline.") and lookup(config, key.removeprefix("baseline.")) is not MISSING:
        hint = f"write {key.removeprefix('baseline.')}: the path begins inside the baseline"
    else:
        hint = nearest(key, dotted_keys(config))
    return Problem(at, f"the baseline has no key {key!r}", hint=hint)


def word_problem(key: str, current: Any, value: Any, at: Path) -> Problem | None:
    """Find that a word such as `off` stands where the baseline has a boolean."""
    meant = _WORDS_FOR_BOOLEANS.get(value.lower()) if isinstance(value, str) else None
    if not isinstance(current, bool) or meant is None:
        return None
    message = f"{key} is a boolean in the baseline, but the word {value!r} is none"
    return Problem(at, message, value=show(value), hint=f"write {meant}")
