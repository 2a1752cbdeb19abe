"""A study in words: how much it runs, how trials end early, when effects are looked at."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from orchestrator.api import power
from orchestrator.api.advice import advice
from orchestrator.decide.pairs import wants_pairs
from orchestrator.decide.stopping import stopping_rule
from orchestrator.engine.sharing import in_words
from orchestrator.reporting import plain
from orchestrator.study.arguments import variables
from orchestrator.study.command import CommandSpec, words_of
from orchestrator.study.designs import possible_pairs
from orchestrator.study.metricsource import MetricSource
from orchestrator.study.notify import in_words as in_words_of
from orchestrator.study.program import found_as, program_of
from orchestrator.study.registered import rule_of
from orchestrator.study.search import samples_per_arm

if TYPE_CHECKING:
    from orchestrator.api.forecasting import Begins, Estimate, Forecast
    from orchestrator.simulate.planning import PowerForecast
    from orchestrator.study.cells import Arm, Plan
    from orchestrator.study.spec import MetricSpec, StudySpec, TuneSpec


BEGINS: dict[Begins, str] = {
    "new": "a new study, after the cheap gates of check",
    "resume": "goes on with the study that is recorded there",
    "extend": "adds arms or seeds to the study that is recorded there (--extend)",
    "changed": "another study is recorded there under this name: refused, unless --fresh puts it aside",
    "fresh": "begins anew; the study that is recorded there is kept under another name",
}
"""What starting does, by what is recorded."""


def size(spec: StudySpec, plan: Plan) -> str:
    """`8 arms × 5 seeds = 40 trials of 8 epochs`; under `resolve` that is the most there can be, but for the
    pairs that `interactions: auto` may add.
    """
    planned, pairs, seeds = _planned(spec, plan), later_pairs(spec, plan), len(spec.seeds)
    which = f"at most {pairs} pair{'' if pairs == 1 else 's'} of arms that differ"
    return f"{planned}, then {which} × {seeds} seeds = {pairs * seeds} trials" if pairs else planned


def later_pairs(spec: StudySpec, plan: Plan) -> int:
    """Return the most pairs that results may still call for (`interactions: auto`)."""
    return len(possible_pairs(spec)) if wants_pairs(spec, plan) else 0


def _planned(spec: StudySpec, plan: Plan) -> str:
    arms, seeds, samples = len(plan.arms), len(spec.seeds), samples_per_arm(spec)
    trials = plain.length(spec.stopping.max, spec.stopping.unit)
    tuned = f"{arms} arms × {samples} samples = {arms * samples} trials to tune, then " if samples else ""
    twice = "twice (fixed, retuned) " if len(spec.phases) > 1 else ""
    if not rule_of(spec).looks(spec):
        return f"{tuned}{twice}{arms} arms × {seeds} seeds = {arms * seeds} trials of {trials}"
    most = rule_of(spec).most_seeds(spec)
    if most > seeds:
        budget = f"{twice}{arms} arms × {seeds} seeds = {arms * seeds} trials of {trials}"
        return f"{tuned}{budget}, given where they help most (at most {most} seeds an arm)"
    return f"{tuned}{twice}{arms} arms × at most {seeds} seeds = at most {arms * seeds} trials of {trials}"


def interactions(spec: StudySpec, plan: Plan) -> str | None:
    """Which interactions are asked for, and what that costs; None where there are none."""
    pairs = sum(arm.kind == "pair" for arm in plan.arms)
    all_seeds = "; the arms they are made of get all their seeds" if rule_of(spec).looks(spec) else ""
    if pairs:
        return f"{pairs} pair{'' if pairs == 1 else 's'}{all_seeds}"
    if later_pairs(spec, plan):
        return f"auto: all pairs among the arms that turn out to differ{all_seeds}"
    if spec.interactions != "none":
        return "interactions from the runs of the design"
    return None


def tuning(spec: StudySpec, tune: TuneSpec) -> str:
    """Return the search that every arm gets."""
    keys = ", ".join(tune.space)
    how = (
        f"{tune.search} search over {keys}, {samples_per_arm(spec)} samples for every arm (seed {tune.seed})"
    )
    if not (ending := stopping_rule(tune.stopping.rule)).stops_at_rungs:
        return f"{how}, all to their full length"
    return f"{how}; {ending.name} within each arm: {ending.describe_rungs(spec, tune.stopping)}"


def command(spec: StudySpec, plan: Plan) -> dict[str, str]:
    """Return the command of the reference, what runs it, where its metrics are read, and which arms have the
    same one; nothing where none is run.
    """
    entrypoint = spec.entrypoint
    if not isinstance(entrypoint, CommandSpec):
        return {}

    def told(arm: Arm) -> tuple[list[str], dict[str, str]]:
        config = {**arm.config, "seed": spec.seeds[0], "max_length": spec.stopping.max}
        return words_of(entrypoint, config, "TRIAL"), variables(entrypoint.arguments, config)

    reference = plan.arm(plan.reference)
    words, own = told(reference)
    shown = words[-1] if entrypoint.shell else shlex.join(words)
    lines = {"command": " ".join([*(f"{name}={shlex.quote(value)}" for name, value in own.items()), shown])}
    if (program := program_of(entrypoint)) is not None:
        where = found_as(program) or "not on this machine: every node of a cluster has to have it"
        lines["program"] = f"{program}: {where}"
    lines["metrics"] = f"read from {', '.join((entrypoint.metrics or MetricSource()).places)}"
    same = [arm.name for arm in plan.arms if arm is not reference and told(arm) == (words, own)]
    if same:
        lines["unheard"] = f"{', '.join(same)}: the same command; it has to read its settings itself"
    return lines


def notified(spec: StudySpec) -> dict[str, str]:
    """Return who is told of the study while it runs, and of what; nothing where nobody is."""
    return {} if spec.notify is None else {"notify": in_words_of(spec.notify, os.environ)}


def looks(spec: StudySpec) -> str:
    """When effects are looked at."""
    numbers = rule_of(spec).looks(spec)
    if not numbers:
        return "none"
    return f"after {', '.join(map(str, numbers))} seeds (α = {spec.report.alpha:g} in all)"


def measured(metric: MetricSpec) -> str:
    """Return what is compared: `test/acc (max) where val/acc (max) is best`."""
    selected = f"{metric.name} ({metric.mode})"
    if metric.test is None:
        best = ", each run's best report, which is optimistic: claim a metric.test"
        return f"{selected}{best if metric.at == 'best' else ''}"
    claimed = f"{metric.test} ({metric.claimed_mode})"
    where = f"where {selected} is best" if metric.at == "best" else f"at the end, {selected} selects"
    return f"{claimed} {where}"


def lines(found: Forecast, detects: PowerForecast | None = None) -> dict[str, str]:
    """Return what a study would run and take, one line per heading; `detects`: what it can find."""
    spec, plan = found.spec, found.plan
    total = len(found.remaining) + found.answered
    also = f"; also {', '.join(spec.metric.also)}" if spec.metric.also else ""
    left = f"; {found.answered} of {total} answered already" if found.answered else ""
    pairs, fitting = interactions(spec, plan), advice(spec, plan)
    fit = f"{found.slots} at the same time on this machine" if found.slots else "none fit on this machine"
    return {
        "study": f"{plan.study} ({plan.hash}), {spec.design}, {measured(spec.metric)}{also}",
        "cells": f"{size(spec, plan)}{left}",
        **command(spec, plan),
        **({"tune": tuning(spec, spec.tune)} if spec.tune is not None else {}),
        "stopping": rule_of(spec).describe(spec),
        "looks": looks(spec),
        **({"advice": fitting} if fitting is not None else {}),
        **({"pairs": pairs} if pairs is not None else {}),
        "slots": fit,
        **({"others": f"{in_words(found.others)}; this study gets what is left"} if found.others else {}),
        "estimate": cost(found.estimate, at_most=found.at_most),
        "storage": f"{spec.storage}/{plan.study}",
        **notified(spec),
        "start": BEGINS[found.begins],
        **(power.lines(detects, found.estimate) if detects is not None else {}),
    }


def differences(plan: Plan) -> list[tuple[str, str, str]]:
    """Every arm with what it changes and why; the reference first."""
    reference = plan.arm(plan.reference)
    return [
        (
            arm.name,
            "(reference)" if arm is reference else plain.difference(arm.set, reference.config),
            arm.why or "",
        )
        for arm in plan.arms
    ]


def cost(found: Estimate, *, at_most: bool) -> str:
    """`12 runs, 3h 20m, 5.00 GPU hours, 120 MiB on disk`."""
    if found.runs == 0:
        return "nothing is left to run"
    most = "at most " if at_most else ""
    if found.wall_s is None and found.gpu_h is None:
        return f"{most}{found.runs} runs; time and disk are unknown until a trial has finished"
    parts = [f"{most}{found.runs} runs", plain.duration(found.wall_s)]
    if found.gpu_h:
        parts.append(f"{found.gpu_h:.2f} GPU hours")
    if found.disk_bytes is not None:
        parts.append(f"{found.disk_bytes / 2**20:.0f} MiB on disk")
    return ", ".join(parts)
