"""What may change between runs of the same study, and what makes it another study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.study.changes import MISSING
from orchestrator.study.command import CommandSpec
from orchestrator.study.faults import show
from orchestrator.study.registered import DESIGNS, RULES, rule_of
from orchestrator.study.spec import StudySpec

MUTABLE = (
    *("budget", "failures", "checkpoint", "max_cells", "storage", "monitor", "loggers", "notify"),
    *("resources.max_parallel", "resources.priority", "resources.reuse_workers", "resources.run_ahead"),
)
"""Dotted keys of the study file that may change between runs; so may each component's keys in `TOLD`.

All else is frozen, `report` too: alpha and margin are registered before the first run.
"""
OPTIONAL = ("datamodule", "datasets")
"""Code that few studies name: no part of the view of those that do not."""
TOLD = ("why", "acts_after", "label", "labels")
"""Keys of a component that say something about it, and change nothing."""
_METRIC = ("at", "test", "test_mode")
"""What few studies say about their metric: no part of the view of those that do not."""


def canonical(value: Any) -> str:
    """One text for one value: JSON with sorted keys, no spaces. 1 and 1.0 differ, as in a program."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def frozen_view(spec: StudySpec) -> dict[str, Any]:
    """Plain data of everything that may not change between runs."""
    view = spec.to_dict()
    for key in MUTABLE:
        *section, name = key.split(".")
        (view[section[0]] if section else view).pop(name)
    for key in OPTIONAL:
        if view[key] is None:
            view.pop(key)
    view["entrypoint"] = entrypoint_identity(spec)
    view["stopping"]["version"] = rule_of(spec).version_of(spec)
    metric = type(spec.metric).model_fields
    for key in _METRIC:
        if view["metric"][key] == metric[key].default:
            view["metric"].pop(key)
    for component in view["components"].values():
        for key in TOLD:
            component.pop(key)
    return view


def entrypoint_identity(spec: StudySpec) -> str | dict[str, Any]:
    """Return what names the code: two studies with another one are two."""
    return spec.entrypoint.identity if isinstance(spec.entrypoint, CommandSpec) else spec.entrypoint


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what differs between two frozen views, one line each: `stopping.max: 8 → 20`."""
    return list(_compared(old, new, ""))


def extends_only(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether `new` only adds arms or seeds to `old`, so that every cell and every effect of `old` is kept.

    Seeds: not where error levels hold for those that were registered before the first run (`resolve`).
    Arms: in leave-one-out and pairs, components, alternatives, listed interactions, and exclusions that
    concern new components. In the other designs every component is part of every effect: none can be added.
    """
    more_seeds = set(old["seeds"]) <= set(new["seeds"])
    if not more_seeds or (seeds_are_registered(old) and old["seeds"] != new["seeds"]):
        return False
    kept = {**new, "seeds": old["seeds"]}
    if DESIGNS.get(old["design"]).grows and new["design"] == old["design"]:
        grown = {key: _kept(key, old, new) for key in ("components", "interactions", "exclude")}
        if any(part is None for part in grown.values()):
            return False
        kept |= grown
    return canonical(kept) == canonical(old)


def seeds_are_registered(view: Mapping[str, Any]) -> bool:
    """Whether the seeds of a study (its frozen view) are fixed once it has begun, as with `resolve`."""
    return RULES.get(view["stopping"]["rule"]).sequential


def extension_hint(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return what `--extend` would accept for this study, as a sentence; `old` and `new` are frozen views."""
    growing = DESIGNS.get(old["design"]).grows
    accepted = ["components", "alternatives", "listed interactions"] if growing else []
    if seeds_are_registered(old):
        only = "nothing can be added here"
        if accepted:
            only = f"--extend accepts only more {_listed(accepted)} here"
        if set(old["seeds"]) == set(new["seeds"]):
            return only
        rule = old["stopping"]["rule"]
        return (
            f"seeds cannot be added to a study with rule: {rule}: adding them after seeing results voids its "
            f"error levels (goal: reinvest registers more from the start); {only}"
        )
    return f"--extend accepts only more {_listed([*accepted, 'seeds'])} here"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _kept(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Any:
    """Return the old part where the new one only adds to it, else None."""
    if key == "components":
        return old[key] if _more_components(old, new) else None
    if key == "exclude":
        known = set(old["components"])
        added = [group for group in new[key] if group not in old[key]]
        all_there = all(group in new[key] for group in old[key])
        return old[key] if all_there and not any(set(group) <= known for group in added) else None
    pairs = [[] if view[key] == "none" else view[key] for view in (old, new)]
    if "auto" in pairs:
        return old[key] if pairs[0] == pairs[1] else None
    before, after = ([set(pair) for pair in view] for view in pairs)
    return old[key] if all(pair in after for pair in before) else None


def _more_components(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    pairs = () if isinstance(old["interactions"], str) else old["interactions"]
    paired = {name for pair in pairs for name in pair}
    for name, component in old["components"].items():
        now = new["components"].get(name)
        if now is None or (component["without"] is not None and component["without"] != now["without"]):
            return False
        swap = component["swap"] or {}
        if any((now["swap"] or {}).get(alternative) != change for alternative, change in swap.items()):
            return False
        # the pair of a component that has one alternative only means that one
        if name in paired and component["without"] is None and now != component:
            return False
    return True


def _compared(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            parts = old.get(key, MISSING), new.get(key, MISSING)
            yield from _compared(*parts, f"{path}.{key}" if path else str(key))
    elif MISSING in (old, new) or canonical(old) != canonical(new):
        yield f"{path}: {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    return "not there" if value is MISSING else show(value)
