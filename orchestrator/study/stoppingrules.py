"""What is wrong with `stopping`, alone and together with seeds and design."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from orchestrator.study.combining import CROSSED
from orchestrator.study.faults import Problem, show
from orchestrator.study.seeds import evaluation_seeds, most_seeds
from orchestrator.study.spec import StoppingSpec, StudySpec
from orchestrator.study.values import MAX_SEED
from orchestrator.study.yamlfile import Path

_ONLY_RESOLVE = ("goal", "max_seeds", "looks", "gamma", "futility")


def stopping_problems(spec: StudySpec) -> Iterator[Problem]:
    """Every fault of `stopping`, and of seeds that do not go with it."""
    stopping = spec.stopping
    yield from _length_problems(stopping)
    if spec.design in CROSSED and stopping.rule != "none":
        message = f"is not possible with design: {spec.design}: its effects need every run"
        yield Problem(("stopping", "rule"), message, stopping.rule, hint="use rule: none, or leave-one-out")
    if stopping.rule == "resolve":
        yield from _resolve_problems(spec)
    else:
        yield from unused_problems(stopping, ("stopping",), _ONLY_RESOLVE, "with rule: resolve")


def unused_problems(section: BaseModel, path: Path, keys: Iterable[str], when: str) -> Iterator[Problem]:
    """Settings that would have no effect. Defaults are accepted: a study on disk holds all of them."""
    for key in keys:
        value = getattr(section, key)
        if value != type(section).model_fields[key].default:
            yield Problem((*path, key), f"is only used {when}", show(value), hint="remove it")


def rung_problems(stopping: StoppingSpec, grace: float, path: Path) -> Iterator[Problem]:
    """Faults of the first rung of `asha`, given at `path`, against the full length."""
    at = (*path, "grace")
    if stopping.unit != "seconds" and not isinstance(grace, int):
        yield Problem(at, f"must be a whole number of {stopping.unit}s", value=show(grace))
    if grace > stopping.max:
        yield _unreachable(stopping, grace, at)
    elif grace == stopping.max:
        message = "equals max: asha needs at least one rung before the end"
        yield Problem(at, message, show(grace), hint=f"use a grace below {stopping.max}")


def _unreachable(stopping: StoppingSpec, grace: float, at: Path) -> Problem:
    message = "is longer than max: no trial would reach the first rung"
    value = f"grace {grace}, max {stopping.max}"
    return Problem(at, message, value, hint=f"use a grace below {stopping.max}")


def _length_problems(stopping: StoppingSpec) -> Iterator[Problem]:
    asha = stopping.rule == "asha"
    if stopping.unit == "seconds":
        if not asha:
            message = "is only possible with rule: asha: the same seconds are not the same training"
            yield Problem(("stopping", "unit"), message, "seconds", hint="valid: epoch, step, report")
    elif not isinstance(stopping.max, int):
        message = f"must be a whole number of {stopping.unit}s"
        yield Problem(("stopping", "max"), message, value=show(stopping.max))
    if asha:
        yield from rung_problems(stopping, stopping.grace, ("stopping",))
    elif "grace" in stopping.model_fields_set:
        # other rules stop nothing at rungs, but the report compares the effects there
        if stopping.unit != "seconds" and not isinstance(stopping.grace, int):
            message = f"must be a whole number of {stopping.unit}s"
            yield Problem(("stopping", "grace"), message, value=show(stopping.grace))
        if stopping.grace > stopping.max:
            yield _unreachable(stopping, stopping.grace, ("stopping", "grace"))


def _resolve_problems(spec: StudySpec) -> Iterator[Problem]:
    stopping, count = spec.stopping, len(spec.seeds)
    if count < 2:
        message = "one seed says nothing about the spread between seeds, which resolve judges by"
        yield Problem(
            ("seeds",), message, show(list(spec.seeds)), hint="use seeds: 5, or stopping.rule: none"
        )
        return
    if stopping.goal == "save":
        yield from unused_problems(stopping, ("stopping",), ("max_seeds",), "with goal: reinvest")
    elif stopping.max_seeds < count:
        message = f"is below the number of seeds, {count}, which every arm may get"
        hint = f"use at least max_seeds: {count}, or fewer seeds"
        yield Problem(("stopping", "max_seeds"), message, show(stopping.max_seeds), hint)
        return
    elif evaluation_seeds(spec)[-1] > MAX_SEED:
        message = f"leave no room for the seeds that goal: reinvest adds: the largest seed is {MAX_SEED}"
        yield Problem(("seeds",), message, show(max(spec.seeds)), hint="use smaller seeds")
    most = most_seeds(spec)
    if stopping.looks != "auto" and stopping.looks[-1] != most:
        source = "max_seeds" if stopping.goal == "reinvest" else "the number of seeds"
        message = f"must end with {most}, {source}: there is always a look when an arm has all its seeds"
        below = [look for look in stopping.looks if look < most]
        yield Problem(("stopping", "looks"), message, show(stopping.looks), hint=f"use {[*below, most]}")
