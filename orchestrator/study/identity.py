"""What may change between runs of the same study, and what makes it another study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.study.faults import show
from orchestrator.study.spec import StudySpec

MUTABLE = frozenset(
    {
        "budget",
        "failures",
        "checkpoint",
        "storage",
        "resources.max_parallel",
        "resources.reuse_workers",
        "resources.run_ahead",
    }
)
"""Dotted keys of the study file that may change between runs; so may each component's `why`.

All else is frozen, `report` too: alpha and margin are registered before the first run.
"""


def canonical(value: Any) -> str:
    """One text for one value: JSON with sorted keys, no spaces. 1 and 1.0 differ, as in a program."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def frozen_view(spec: StudySpec) -> dict[str, Any]:
    """Plain data of everything that may not change between runs."""
    view = spec.to_dict()
    for key in MUTABLE:
        section, _, name = key.partition(".")
        if name:
            view[section].pop(name)
        else:
            view.pop(section)
    for component in view["components"].values():
        component.pop("why")
    return view


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two frozen views, one line each: `stopping.max: 8 → 20`."""
    lines: list[str] = []
    _compare(old, new, "", lines)
    return lines


def extends_only(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether `new` only adds arms or seeds to `old`, so that every cell of `old` is kept.

    In add-one-in every component is part of the reference, so that there only seeds can be added.
    """
    if not set(old["seeds"]) <= set(new["seeds"]):
        return False
    kept = dict(new["components"])
    if new["design"] == "leave-one-out":
        kept = {}
        for name, component in old["components"].items():
            now = new["components"].get(name)
            if now is None or (component["without"] is not None and component["without"] != now["without"]):
                return False
            swap = component["swap"] or {}
            if any((now["swap"] or {}).get(alternative) != change for alternative, change in swap.items()):
                return False
            kept[name] = component
    return canonical({**new, "components": kept, "seeds": old["seeds"]}) == canonical(old)


def _compare(old: Any, new: Any, path: str, lines: list[str]) -> None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{path}.{key}" if path else str(key)
            if key not in new:
                lines.append(f"{where}: {show(old[key])} → not there")
            elif key not in old:
                lines.append(f"{where}: not there → {show(new[key])}")
            else:
                _compare(old[key], new[key], where, lines)
    elif canonical(old) != canonical(new):
        lines.append(f"{path}: {show(old)} → {show(new)}")
