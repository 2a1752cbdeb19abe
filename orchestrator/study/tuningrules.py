"""What is wrong with `tune`, alone and together with the rest of the study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.study.changes import MISSING, lookup, missing_problem, word_problem
from orchestrator.study.design import design_of
from orchestrator.study.faults import Problem, show, unused_problems
from orchestrator.study.searches import SEARCHES
from orchestrator.study.seeds import evaluation_seeds
from orchestrator.study.space import Choice, Space, parse_space
from orchestrator.study.spec import RESERVED, StudySpec, TuneSpec
from orchestrator.study.stopping import RULES, rule_of
from orchestrator.study.stoppingrules import rung_problems


def tuning_problems(spec: StudySpec) -> Iterator[Problem]:
    """Every fault of `tune`."""
    tune = spec.tune
    if tune is None:
        return
    rule = rule_of(spec)
    if rule.tier != "full-length":
        able = " or ".join(reversed(RULES.names(lambda one: one.tier == "full-length")))
        message = f"is only possible with rule: {able}: the winners are compared at full length"
        yield Problem(
            ("tune",), message, hint=f"use stopping.rule: resolve; {rule.name} stops samples in tune.stopping"
        )
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
                problem = word_problem(key, current, value, (*at, "choice", index))
                if problem is not None:
                    yield problem


def _stopping_problems(spec: StudySpec, tune: TuneSpec) -> Iterator[Problem]:
    path = ("tune", "stopping")
    if not RULES.get(tune.stopping.rule).stops_at_rungs:
        able = " or ".join(RULES.names(lambda one: one.for_samples and one.stops_at_rungs))
        yield from unused_problems(tune.stopping, path, ("grace", "reduction"), f"with rule: {able}")
    else:
        yield from rung_problems(spec.stopping, tune.stopping.grace, path)
