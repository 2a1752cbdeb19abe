"""Arms, cells and the plan: a study as frozen data, complete before anything starts."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from orchestrator.errors import InternalError
from orchestrator.study.designs import Arm as Arm
from orchestrator.study.designs import expand_arms, searched_config
from orchestrator.study.identity import OPTIONAL, canonical, entrypoint_identity, frozen_view
from orchestrator.study.naming import cell_name
from orchestrator.study.registered import rule_of
from orchestrator.study.search import registered_draws
from orchestrator.study.spec import StudySpec

FIXED, TUNE, RETUNED = "fixed", "tune", "retuned"
PHASES = (FIXED, TUNE, RETUNED)
"""Phases of cells: as the study file says, a sample of the search, with the arm's winner."""


def evaluation_seeds(spec: StudySpec) -> tuple[int, ...]:
    """Return the seeds of the study in their order, those that the rule may add included.

    What is added are the next whole numbers above the largest seed of the file: fixed before the first run.
    """
    first, added = max(spec.seeds) + 1, rule_of(spec).most_seeds(spec) - len(spec.seeds)
    return spec.seeds + tuple(range(first, first + added))


@dataclass(frozen=True)
class Cell:
    """One trial to run: an arm under a seed. `cell` is its identity, 12 hex digits.

    `set` holds what the search has chosen for this cell: dotted keys that override those of the arm.
    """

    cell: str
    arm: str
    seed: int
    phase: str = FIXED
    sample: int | None = None
    set: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return cell_name(self.arm, self.seed, self.phase, self.sample)


@dataclass(frozen=True)
class Batch:
    """Arms and cells that results have called for: journalled as a plan before any of them runs."""

    reason: str
    arms: Annotated[tuple[Arm, ...], Field(alias="new_arms")]
    cells: Annotated[tuple[Cell, ...], Field(alias="new_cells")]

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in the journal's `plan` events."""
        return _BATCH.dump_python(self, by_alias=True)  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Batch:
        """Inverse of `to_json`; raises ValueError when it is none."""
        return _BATCH.validate_python(data)


@dataclass(frozen=True)
class Plan:
    """Everything that a study will run, in the order in which it is started.

    `registered` is what decides about the effects, `hash` stands for it, the frozen settings and the cells:
    both are on disk before the first run.
    """

    study: str
    hash: str
    reference: str
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    registered: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _arms(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in self.arms}

    @cached_property
    def _cells(self) -> dict[str, Cell]:
        return {cell.cell: cell for cell in self.cells}

    @cached_property
    def by_arm(self) -> Mapping[str, Sequence[Cell]]:
        """The cells of every arm, arms and cells in the plan's order."""
        found: dict[str, list[Cell]] = {arm.name: [] for arm in self.arms}
        for cell in self.cells:
            found[cell.arm].append(cell)
        return found

    def arm(self, name: str) -> Arm:
        """Return the arm of that name; KeyError when the plan has none."""
        return self._arms[name]

    def cell(self, cell_id: str) -> Cell:
        """Return the cell of that identity; KeyError when the plan has none."""
        return self._cells[cell_id]

    def grown(self, batch: Batch) -> Plan:
        """Return this plan with what the batch adds; what is there already is kept as it is."""
        arms = tuple(arm for arm in batch.arms if arm.name not in self._arms)
        cells = tuple(cell for cell in batch.cells if cell.cell not in self._cells)
        return replace(self, arms=self.arms + arms, cells=self.cells + cells)._whole()

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in `plan.json`."""
        return _PLAN.dump_python(self, by_alias=True)  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Inverse of `to_json`; further keys are left alone. Raises ValueError when it is none."""
        return _PLAN.validate_python(data)._whole()

    def _whole(self) -> Plan:
        """Return it; raises ValueError where its parts do not fit together."""
        names = {arm.name for arm in self.arms}
        if len(names) < len(self.arms) or len({cell.cell for cell in self.cells}) < len(self.cells):
            raise ValueError("two arms or two cells have one name")
        strange = next(
            (cell for cell in self.cells if cell.arm not in names or cell.phase not in PHASES), None
        )
        if self.reference not in names or strange is not None:
            what = f"cell {strange.cell[:40]!r}" if strange else "the reference"
            raise ValueError(f"{what} is of no arm or phase of the plan")
        return self


_BATCH, _PLAN = TypeAdapter(Batch), TypeAdapter(Plan)


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
    reference, others = arms[:1], arms[1:]
    singles = [arm for arm in others if arm.kind != "pair"]
    seeds = evaluation_seeds(spec)
    yield from make_cells(spec, reference, seeds[:2])
    for index, seed in enumerate(seeds):
        # a pair is worth its registered seeds: its interaction is not judged seed by seed
        row = others if seed in spec.seeds else singles
        yield from make_cells(spec, [*reference, *row] if index >= 2 else row, [seed])


def make_cells(
    spec: StudySpec,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    phase: str = FIXED,
    sample: int | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Iterator[Cell]:
    """Yield the cells of these arms under these seeds, seed by seed; `chosen`: what the search has set."""
    setting = dict(chosen or {})
    digests = [(arm, _digest(cell_config(spec, arm, setting), spec)) for arm in arms]
    for seed in seeds:
        for arm, digest in digests:
            yield Cell(_cell_id(digest, seed, phase, sample), arm.name, seed, phase, sample, setting)


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


def _cell_id(digest: hashlib._Hash, seed: int, phase: str, sample: int | None) -> str:
    whole = digest.copy()
    whole.update(canonical({"seed": seed, "phase": phase, "sample": sample}).encode())
    return whole.hexdigest()[:12]
