"""What several values of a study say together: checks that no single type can make."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.study.cells import evaluation_seeds
from orchestrator.study.changes import MISSING, lookup, missing_problem, word_problem
from orchestrator.study.command import command_problems
from orchestrator.study.faults import Path, Problem, nearest, show, unused_problems, walk
from orchestrator.study.notify import notify_problems
from orchestrator.study.registered import RULES, SEARCHES, StoppingTerms, design_of, rule_of
from orchestrator.study.search import Choice, Space, parse_space
from orchestrator.study.spec import RESERVED, Component, MetricSpec, StoppingSpec, StudySpec, TuneSpec
from orchestrator.study.values import name_fault


def rule_problems(spec: StudySpec) -> list[Problem]:
    """Every problem that concerns more than one value, but for the arms (`designs.build_arms`)."""
    return [
        *_metric_problems(spec.metric),
        *_baseline_problems(spec),
        *command_problems(spec),
        *_component_problems(spec),
        *stopping_problems(spec),
        *tuning_problems(spec),
        *_resource_problems(spec),
        *notify_problems(spec),
    ]


def _metric_problems(metric: MetricSpec) -> Iterator[Problem]:
    if metric.test is None:
        yield from unused_problems(metric, ("metric",), ("test_mode",), "with metric.test")
    elif metric.test == metric.name:
        message = "is the metric that selects: what is claimed must not have been chosen by itself"
        yield Problem(("metric", "test"), message, show(metric.test), "name the key of the test set's metric")
    if metric.at == "best" and metric.average_last > 1:
        message = "is not possible with at: best, which takes one report"
        hint = "remove it, or use at: last"
        yield Problem(("metric", "average_last"), message, show(metric.average_last), hint)


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
    for at, item in walk(value, path):
        if keys and "." in str(at[-1]):
            hint = "nest it, so that dotted keys can address it"
            yield Problem(at, f"a key in the baseline cannot hold a dot: {at[-1]!r}", hint=hint)
        if isinstance(item, float) and not math.isfinite(item):
            yield Problem(at, "must be a finite number", show(item), "use null for 'no limit'")
        elif item == "???":
            yield Problem(at, "has no value yet", "???", "set it in the file or on the command line")


def _component_problems(spec: StudySpec) -> Iterator[Problem]:
    spellings: dict[str, str] = {}
    for name, component in spec.components.items():
        path: Path = ("components", name)
        yield from _name_problems(name, path, spellings)
        yield from _change_problems(component, path)


def _name_problems(name: str, path: Path, spellings: dict[str, str]) -> Iterator[Problem]:
    """Find what is wrong with a name beside those in `spellings`, lower case -> name."""
    if fault := name_fault(name):
        yield Problem(path, f"the name {name[:80]!r} {fault}")
    first = spellings.setdefault(name.lower(), name)
    if first != name:
        message = f"{name!r} and {first!r} differ only in case, and would share a directory on some systems"
        yield Problem(path, message, hint="rename one of them")


def _change_problems(component: Component, path: Path) -> Iterator[Problem]:
    if component.without is None and component.swap is None:
        hint = "for example without: {model.dropout: 0.0}, or swap: {sgd: {optim.name: sgd}}"
        yield Problem(path, "needs 'without' (what switches it off) or 'swap' (what replaces it)", hint=hint)
    yield from _value_problems(component.without, (*path, "without"), keys=False)
    if component.swap is not None and not component.swap:
        hint = "for example swap: {sgd: {optim.name: sgd}}"
        yield Problem((*path, "swap"), "names no alternative", hint=hint)
    for alternative in component.labels.keys() - (component.swap or {}).keys():
        known = nearest(alternative, component.swap) if component.swap else "use label for the component"
        yield Problem((*path, "labels", alternative), "names no alternative of swap", hint=known)
    spellings: dict[str, str] = {}
    for alternative, changes in (component.swap or {}).items():
        at = (*path, "swap", alternative)
        yield from _name_problems(alternative, at, spellings)
        yield from _value_problems(changes, at, keys=False)


def _resource_problems(spec: StudySpec) -> Iterator[Problem]:
    resources = spec.resources
    share = resources.gpus_per_worker
    if resources.workers > 1 and isinstance(share, float) and 0 < share < 1:
        message = "a share of a GPU is only possible with one worker: NCCL refuses two ranks on one GPU"
        hint = "use workers: 1, or whole GPUs"
        yield Problem(("resources", "gpus_per_worker"), message, show(share), hint)


_OF_SOME_RULES = ("goal", "max_seeds", "looks", "gamma", "futility")
"""Settings of `stopping` that not every rule has."""


def stopping_problems(spec: StudySpec) -> Iterator[Problem]:
    """Find every fault of `stopping`, and of seeds that do not go with it."""
    stopping, rule = spec.stopping, rule_of(spec)
    yield from _length_problems(stopping, rule)
    why = None
    if design_of(spec).crossed and rule.drops_runs:
        why = "its effects need every run"
    elif rule.sequential and not design_of(spec).compares:
        why = "it compares each arm with the reference"
    if why is not None:
        message = f"is not possible with design: {spec.design}: {why}"
        yield Problem(("stopping", "rule"), message, rule.name, hint="use rule: none, or leave-one-out")
    for key in _OF_SOME_RULES:
        if key not in rule.uses:
            users = " or ".join(name for name in RULES if key in RULES.get(name).uses)
            yield from unused_problems(stopping, ("stopping",), (key,), f"with rule: {users}")
    newest = rule.newest(spec)
    if stopping.version != "auto" and stopping.version > newest:
        message = f"rule: {rule.name} has no such version with these settings"
        valid = "1" if newest == 1 else f"1 to {newest}"
        yield Problem(("stopping", "version"), message, show(stopping.version), f"valid: {valid}, auto")
        return
    yield from rule.problems(spec)


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


def tuning_problems(spec: StudySpec) -> Iterator[Problem]:
    """Every fault of `tune`."""
    tune = spec.tune
    if tune is None:
        return
    rule = rule_of(spec)
    if rule.tier != "full-length":
        able = " or ".join(reversed(RULES.names(lambda one: one.tier == "full-length")))
        message = f"is only possible with rule: {able}: the winners are compared at full length"
        hint = f"use stopping.rule: resolve; {rule.name} stops samples in tune.stopping"
        yield Problem(("tune",), message, hint=hint)
    if design_of(spec).crossed:
        message = f"is not possible with design: {spec.design}, whose effects need every run as it stands"
        yield Problem(("tune",), message, hint="use design: leave-one-out, or remove tune")
    if spec.phases == ("retuned",) and (design_of(spec).every_pair or spec.interactions != "none"):
        message = "leaves no place for interactions: pairs are run with the settings of this file"
        hint = "use compare: both or fixed, or take the pairs out of the study"
        yield Problem(("tune", "compare"), message, "retuned", hint)
    if tune.seed in evaluation_seeds(spec):
        message = "is also a seed of the evaluation: the winners would be judged on what they were chosen by"
        added = "" if tune.seed in spec.seeds else ", and from those that goal: reinvest may add"
        yield Problem(("tune", "seed"), message, show(tune.seed), hint=f"keep it apart from seeds{added}")
    space, faults = parse_space(tune.space)
    yield from faults
    yield from _key_problems(spec, tune, space)
    if space and not faults:
        yield from SEARCHES.get(tune.search).problems(tune, space)
    yield from _stopping_problems(spec, tune)


def _key_problems(spec: StudySpec, tune: TuneSpec, space: Space) -> Iterator[Problem]:
    if not tune.space:
        hint = "for example space: {optim.lr: {loguniform: [1e-4, 1e-1]}}"
        yield Problem(("tune", "space"), "names no key: there is nothing to search", hint=hint)
    for key in tune.space:
        at = ("tune", "space", key)
        current = lookup(spec.baseline, key)
        dimension = space.get(key)
        if key in RESERVED:
            message = f"{key!r} is reserved: the orchestrator fills it in for every trial"
            yield Problem(at, message, hint=f"remove it here; {RESERVED[key]} sets it")
        elif current is MISSING:
            yield missing_problem(spec.baseline, key, at)
        elif isinstance(current, Mapping):
            inside = ", ".join(f"{key}.{name}" for name in list(current)[:5])
            hint = f"name a key inside it: {inside}" if inside else "name a key that holds a value"
            yield Problem(at, f"{key} is a mapping in the baseline, a search sets single values", hint=hint)
        elif isinstance(dimension, Choice):
            for index, value in enumerate(dimension.values):
                if problem := word_problem(key, current, value, (*at, "choice", index)):
                    yield problem


def _stopping_problems(spec: StudySpec, tune: TuneSpec) -> Iterator[Problem]:
    path = ("tune", "stopping")
    if not RULES.get(tune.stopping.rule).stops_at_rungs:
        able = " or ".join(RULES.names(lambda one: one.for_samples and one.stops_at_rungs))
        yield from unused_problems(tune.stopping, path, ("grace", "reduction"), f"with rule: {able}")
    else:
        yield from rung_problems(spec.stopping, tune.stopping.grace, path)
