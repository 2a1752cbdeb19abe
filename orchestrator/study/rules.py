"""What several values of a study say together: checks that no single type can make."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.study.faults import Problem, show
from orchestrator.study.spec import RESERVED, Component, StudySpec
from orchestrator.study.stoppingrules import stopping_problems
from orchestrator.study.tuningrules import tuning_problems
from orchestrator.study.values import name_fault
from orchestrator.study.yamlfile import Path


def rule_problems(spec: StudySpec) -> list[Problem]:
    """Every problem that concerns more than one value, but for the arms (`designs.build_arms`)."""
    return [
        *_baseline_problems(spec),
        *_component_problems(spec),
        *stopping_problems(spec),
        *tuning_problems(spec),
        *_resource_problems(spec),
    ]


def _baseline_problems(spec: StudySpec) -> Iterator[Problem]:
    for key, setting in RESERVED.items():
        if key in spec.baseline:
            message = f"{key!r} is reserved: the orchestrator fills it in for every trial"
            yield Problem(("baseline", key), message, hint=f"remove it here and set {setting}")
    yield from _value_problems(spec.baseline, ("baseline",), keys=True)
    if spec.tune is not None:
        yield from _value_problems(spec.tune.space, ("tune", "space"), keys=False)


def _value_problems(value: Any, path: Path, *, keys: bool) -> Iterator[Problem]:
    """Values that JSON cannot hold or that are missing; with `keys`, names that no dotted key can reach."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if keys and "." in str(key):
                hint = "nest it, so that dotted keys can address it"
                yield Problem((*path, key), f"a key in the baseline cannot hold a dot: {key!r}", hint=hint)
            yield from _value_problems(item, (*path, key), keys=keys)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _value_problems(item, (*path, index), keys=keys)
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "must be a finite number", value=show(value), hint="use null for 'no limit'")
    elif value == "???":
        yield Problem(path, "has no value yet", value="???", hint="set it in the file or on the command line")


def _component_problems(spec: StudySpec) -> Iterator[Problem]:
    spellings: dict[str, str] = {}
    for name, component in spec.components.items():
        path: Path = ("components", name)
        fault = name_fault(name)
        if fault:
            yield Problem(path, f"the name {name[:80]!r} {fault}")
        first = spellings.setdefault(name.lower(), name)
        if first != name:
            yield _case_problem(path, name, first)
        yield from _change_problems(component, path)


def _case_problem(path: Path, name: str, other: str) -> Problem:
    message = f"{name!r} and {other!r} differ only in case, and would share a directory on some systems"
    return Problem(path, message, hint="rename one of them")


def _change_problems(component: Component, path: Path) -> Iterator[Problem]:
    if component.without is None and component.swap is None:
        hint = "for example without: {model.dropout: 0.0}, or swap: {sgd: {optim.name: sgd}}"
        yield Problem(path, "needs 'without' (what switches it off) or 'swap' (what replaces it)", hint=hint)
    yield from _value_problems(component.without, (*path, "without"), keys=False)
    if component.swap is not None and not component.swap:
        yield Problem(
            (*path, "swap"), "names no alternative", hint="for example swap: {sgd: {optim.name: sgd}}"
        )
    spellings: dict[str, str] = {}
    for alternative, changes in (component.swap or {}).items():
        at = (*path, "swap", alternative)
        fault = name_fault(alternative)
        if fault:
            yield Problem(at, f"the name {alternative[:80]!r} {fault}")
        first = spellings.setdefault(alternative.lower(), alternative)
        if first != alternative:
            yield _case_problem(at, alternative, first)
        yield from _value_problems(changes, at, keys=False)


def _resource_problems(spec: StudySpec) -> Iterator[Problem]:
    resources = spec.resources
    share = resources.gpus_per_worker
    if resources.workers > 1 and isinstance(share, float) and 0 < share < 1:
        message = "a share of a GPU is only possible with one worker: NCCL refuses two ranks on one GPU"
        hint = "use workers: 1, or whole GPUs"
        yield Problem(("resources", "gpus_per_worker"), message, show(share), hint)
