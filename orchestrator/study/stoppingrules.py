"""What is wrong with `stopping`, alone and together with seeds and design."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.study.design import design_of
from orchestrator.study.faults import Problem, show, unused_problems
from orchestrator.study.spec import StoppingSpec, StudySpec
from orchestrator.study.stopping import RULES, StoppingTerms, rule_of
from orchestrator.study.yamlfile import Path

_OF_SOME_RULES = ("goal", "max_seeds", "looks", "gamma", "futility")
"""Settings of `stopping` that not every rule has."""


def stopping_problems(spec: StudySpec) -> Iterator[Problem]:
    """Find every fault of `stopping`, and of seeds that do not go with it."""
    stopping, rule = spec.stopping, rule_of(spec)
    yield from _length_problems(stopping, rule)
    if design_of(spec).crossed and rule.drops_runs:
        message = f"is not possible with design: {spec.design}: its effects need every run"
        yield Problem(("stopping", "rule"), message, rule.name, hint="use rule: none, or leave-one-out")
    elif rule.sequential and not design_of(spec).compares:
        message = f"is not possible with design: {spec.design}: it compares each arm with the reference"
        yield Problem(("stopping", "rule"), message, rule.name, hint="use rule: none, or leave-one-out")
    for key in _OF_SOME_RULES:
        if key not in rule.uses:
            users = " or ".join(_users(key))
            yield from unused_problems(stopping, ("stopping",), (key,), f"with rule: {users}")
    yield from rule.problems(spec)


def _users(key: str) -> list[str]:
    return RULES.names(lambda rule: key in rule.uses)


def rung_problems(
    stopping: StoppingSpec, grace: float, path: Path, *, stops: bool = True
) -> Iterator[Problem]:
    """Find faults of the first rung, given at `path`. `stops`: trials may end at rungs."""
    at = (*path, "grace")
    if stopping.unit != "seconds" and not isinstance(grace, int):
        yield Problem(at, f"must be a whole number of {stopping.unit}s", value=show(grace))
    hint = f"use a grace below {stopping.max}"
    if grace > stopping.max:
        message = "is longer than max: no trial would reach the first rung"
        yield Problem(at, message, f"grace {grace}, max {stopping.max}", hint)
    elif stops and grace == stopping.max:
        yield Problem(at, "equals max: asha needs at least one rung before the end", show(grace), hint)


def _length_problems(stopping: StoppingSpec, rule: StoppingTerms) -> Iterator[Problem]:
    if stopping.unit == "seconds":
        if rule.tier == "full-length":
            able = " or ".join(RULES.names(lambda one: one.tier != "full-length"))
            message = f"is only possible with rule: {able}: the same seconds are not the same training"
            yield Problem(("stopping", "unit"), message, "seconds", hint="valid: epoch, step, report")
    elif not isinstance(stopping.max, int):
        message = f"must be a whole number of {stopping.unit}s"
        yield Problem(("stopping", "max"), message, value=show(stopping.max))
    # rules that stop nothing at rungs have them too: the report compares the effects there
    if rule.stops_at_rungs or "grace" in stopping.model_fields_set:
        yield from rung_problems(stopping, stopping.grace, ("stopping",), stops=rule.stops_at_rungs)
