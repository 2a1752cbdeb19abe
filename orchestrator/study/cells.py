"""From a study to its plan: frozen data, complete before anything starts."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import InternalError
from orchestrator.study.designs import expand_arms, searched_config
from orchestrator.study.identity import OPTIONAL, canonical, entrypoint_identity, frozen_view
from orchestrator.study.plan import FIXED as FIXED
from orchestrator.study.plan import PHASES as PHASES
from orchestrator.study.plan import RETUNED as RETUNED
from orchestrator.study.plan import TUNE as TUNE
from orchestrator.study.plan import Arm as Arm
from orchestrator.study.plan import Batch as Batch
from orchestrator.study.plan import Cell as Cell
from orchestrator.study.plan import Plan as Plan
from orchestrator.study.registered import rule_of
from orchestrator.study.search import registered_draws
from orchestrator.study.spec import StudySpec


def evaluation_seeds(spec: StudySpec) -> tuple[int, ...]:
    """Return the seeds of the study in their order, those that the rule may add included.

    What is added are the next whole numbers above the largest seed of the file: fixed before the first run.
    """
    first, added = max(spec.seeds) + 1, rule_of(spec).most_seeds(spec) - len(spec.seeds)
    return spec.seeds + tuple(range(first, first + added))


def make_plan(spec: StudySpec, arms: tuple[Arm, ...] | None = None) -> Plan:
    """Expand a study to its arms and the cells that are known before any result.

    Of the evaluation the order is seed by seed with the reference arm first, so that pairs complete early;
    but the first two cells are the reference's first two seeds: two equal curves reveal an entrypoint that
    ignores its seed. Samples come before it, one of every arm after the other. Cells that depend on results
    (proposals of a Bayesian search, the arms' winners, `interactions: auto`) are added later as a `Batch`.

    Args:
        spec: the study.
        arms: its arms, where loading it has built them already.

    Raises:
        StudyError: impossible arms, all of them (no-op or equal arms, keys that the baseline lacks).
    """
    arms = expand_arms(spec) if arms is None else arms
    cells = tuple(_cells(spec, arms))
    if len({cell.cell for cell in cells}) < len(cells):
        raise InternalError("two cells have the same identity")
    registered = registration(spec)
    identities = [cell.cell for cell in cells]
    frozen = frozen_view(spec)
    frozen["stopping"].pop("version")  # what is registered has it
    whole = {"frozen": frozen, "registered": registered, "cells": identities}
    plan_hash = hashlib.sha256(canonical(whole).encode()).hexdigest()[:16]
    return Plan(spec.name, plan_hash, arms[0].name, arms, cells, registered)


def registration(spec: StudySpec) -> dict[str, Any]:
    """Return what is fixed before the first run so that the levels hold, every `auto` worked out."""
    stopping, report = spec.stopping, spec.report
    fixed = {
        "metric": spec.metric.name,
        "mode": spec.metric.mode,
        "average_last": spec.metric.average_last,
        "design": spec.design,
        "rule": stopping.rule,
        "seeds": list(evaluation_seeds(spec)),
        "alpha": report.alpha,
        "margin": report.margin,
        "variance": report.variance,
    }
    rule, metric = rule_of(spec), spec.metric
    version = rule.version_of(spec)
    versions = {} if version == 1 else {rule.version_key: version}
    at = {} if metric.at == "last" else {"at": metric.at}
    claimed = {} if metric.test is None else {"test": metric.test, "test_mode": metric.claimed_mode}
    return fixed | at | claimed | rule.registered(spec) | versions


def _cells(spec: StudySpec, arms: Sequence[Arm]) -> Iterator[Cell]:
    if spec.tune is not None:
        for sample, chosen in enumerate(registered_draws(spec)):
            alone = [arm for arm in arms if arm.kind != "pair"]  # pairs run with the settings of the file
            yield from make_cells(spec, alone, [spec.tune.seed], TUNE, sample, chosen)
    if FIXED in spec.phases:
        yield from _evaluation(spec, arms)


def _evaluation(spec: StudySpec, arms: Sequence[Arm]) -> Iterator[Cell]:
    rows = _digests(spec, arms, {})
    reference, others = rows[:1], rows[1:]
    singles = [row for row in others if row[0].kind != "pair"]
    seeds, registered = evaluation_seeds(spec), set(spec.seeds)
    yield from _spread(reference, seeds[:2])
    for index, seed in enumerate(seeds):
        # a pair is worth its registered seeds: its interaction is not judged seed by seed
        row = others if seed in registered else singles
        yield from _spread([*reference, *row] if index >= 2 else row, [seed])


def make_cells(
    spec: StudySpec,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    phase: str = FIXED,
    sample: int | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Iterator[Cell]:
    """Yield the cells of these arms under these seeds, seed by seed; `chosen`: what the search has set."""
    return _spread(_digests(spec, arms, chosen or {}), seeds, phase, sample, chosen)


def _digests(
    spec: StudySpec, arms: Sequence[Arm], chosen: Mapping[str, Any]
) -> list[tuple[Arm, hashlib._Hash]]:
    """Return the arms, each with the hash of what determines a result of it, but for the seed."""
    configs = (searched_config(spec, arm, chosen) if chosen else arm.config for arm in arms)
    return [(arm, _digest(config, spec)) for arm, config in zip(arms, configs, strict=True)]


def _spread(
    arms: Sequence[tuple[Arm, hashlib._Hash]],
    seeds: Sequence[int],
    phase: str = FIXED,
    sample: int | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Iterator[Cell]:
    setting = dict(chosen or {})
    for seed in seeds:
        run = canonical({"seed": seed, "phase": phase, "sample": sample}).encode()
        for arm, digest in arms:
            yield Cell(_cell_id(digest, run), arm.name, seed, phase, sample, setting)


def cell_config(spec: StudySpec, arm: Arm, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arm's config with the search's choice, `${...}` resolved after both."""
    if not chosen:
        return copy.deepcopy(dict(arm.config))
    return searched_config(spec, arm, chosen)


def trial_config(plan: Plan, cell: Cell, spec: StudySpec) -> dict[str, Any]:
    """Return what the entrypoint sees: the cell's config with `seed` and `max_length` (study's unit)."""
    config = cell_config(spec, plan.arm(cell.arm), cell.set)
    return {**config, "seed": cell.seed, "max_length": spec.stopping.max}


def _digest(config: Mapping[str, Any], spec: StudySpec) -> hashlib._Hash:
    """Hash of what determines a result, but for the seed. Lanes, paths and logging are no part of it."""
    train = config.get("train")
    common = {
        "config": config,
        "entrypoint": entrypoint_identity(spec),
        "max": spec.stopping.max,
        "unit": spec.stopping.unit,
        "world_size": spec.resources.workers,
        "precision": train.get("precision") if isinstance(train, Mapping) else None,
    }
    common |= {key: code for key in OPTIONAL if (code := getattr(spec, key)) is not None}
    return hashlib.sha256(canonical(common).encode())


def _cell_id(digest: hashlib._Hash, run: bytes) -> str:
    whole = digest.copy()
    whole.update(run)
    return whole.hexdigest()[:12]
