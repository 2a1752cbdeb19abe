"""Arms, cells and the plan: a study as frozen data, complete before anything starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from orchestrator.errors import InternalError
from orchestrator.study.changes import apply
from orchestrator.study.designs import Arm, expand_arms
from orchestrator.study.identity import canonical, frozen_view
from orchestrator.study.spec import StudySpec

__all__ = ["FIXED", "RETUNED", "TUNE", "Arm", "Batch", "Cell", "Plan", "make_plan", "trial_config"]

FIXED, TUNE, RETUNED = "fixed", "tune", "retuned"
"""Phases of cells: as the study file says, a sample of the search, with the arm's winner."""


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


@dataclass(frozen=True)
class Batch:
    """Arms and cells that results have called for: journalled as a plan of its own before any of them runs."""

    reason: str
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in the journal's `plan` events."""
        return {
            "reason": self.reason,
            "new_arms": [_arm_to_json(arm) for arm in self.arms],
            "new_cells": [asdict(cell) for cell in self.cells],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Batch:
        """Inverse of `to_json`; raises KeyError or TypeError when it is none."""
        return cls(
            str(data["reason"]),
            tuple(_arm_from_json(arm) for arm in data["new_arms"]),
            tuple(Cell(**cell) for cell in data["new_cells"]),
        )


@dataclass(frozen=True)
class Plan:
    """Everything that a study will run, in the order in which it is started."""

    study: str
    hash: str
    reference: str
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]

    @cached_property
    def _arms(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in self.arms}

    @cached_property
    def _cells(self) -> dict[str, Cell]:
        return {cell.cell: cell for cell in self.cells}

    def arm(self, name: str) -> Arm:
        """The arm of that name; KeyError when the plan has none."""
        return self._arms[name]

    def cell(self, cell_id: str) -> Cell:
        """The cell of that identity; KeyError when the plan has none."""
        return self._cells[cell_id]

    def grown(self, batch: Batch) -> Plan:
        """This plan with what the batch adds; what is there already is kept as it is."""
        arms = tuple(arm for arm in batch.arms if arm.name not in self._arms)
        cells = tuple(cell for cell in batch.cells if cell.cell not in self._cells)
        return replace(self, arms=self.arms + arms, cells=self.cells + cells)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in `plan.json`."""
        return {
            "study": self.study,
            "hash": self.hash,
            "reference": self.reference,
            "arms": [_arm_to_json(arm) for arm in self.arms],
            "cells": [asdict(cell) for cell in self.cells],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """Inverse of `to_json`; further keys beside those are left alone."""
        return cls(
            study=data["study"],
            hash=data["hash"],
            reference=data["reference"],
            arms=tuple(_arm_from_json(arm) for arm in data["arms"]),
            cells=tuple(Cell(**cell) for cell in data["cells"]),
        )


def _arm_to_json(arm: Arm) -> dict[str, Any]:
    fields = asdict(arm)
    return {"arm": fields.pop("name"), **fields}


def _arm_from_json(data: Mapping[str, Any]) -> Arm:
    fields = dict(data)
    return Arm(name=fields.pop("arm"), **{**fields, "parts": tuple(fields.get("parts", ()))})


def make_plan(spec: StudySpec) -> Plan:
    """Expand a study to its arms and cells.

    The order is seed by seed with the reference arm first, so that pairs complete early; but the first two
    cells are the reference's first two seeds: two equal curves reveal an entrypoint that ignores its seed.

    Raises:
        StudyError: impossible arms, all of them (no-op or equal arms, keys that the baseline lacks).
    """
    arms = expand_arms(spec)
    digests = {arm.name: _digest(arm, spec) for arm in arms}
    cells = tuple(
        Cell(_cell_id(digests[arm.name], seed, "fixed", None), arm.name, seed)
        for arm, seed in _order(arms, spec.seeds)
    )
    if len({cell.cell for cell in cells}) < len(cells):
        raise InternalError("two cells have the same identity")
    plan_text = canonical({"frozen": frozen_view(spec), "cells": [cell.cell for cell in cells]})
    plan_hash = hashlib.sha256(plan_text.encode()).hexdigest()[:16]
    return Plan(spec.name, plan_hash, arms[0].name, arms, cells)


def trial_config(plan: Plan, cell: Cell, spec: StudySpec) -> dict[str, Any]:
    """What the entrypoint sees: the arm's config with `seed` and `max_length` (in the study's unit)."""
    config = apply(plan.arm(cell.arm).config, cell.set)
    return {**config, "seed": cell.seed, "max_length": spec.stopping.max}


def _order(arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[tuple[Arm, int]]:
    reference, others = arms[0], arms[1:]
    for seed in seeds[:2]:
        yield reference, seed
    for index, seed in enumerate(seeds):
        if index >= 2:
            yield reference, seed
        for arm in others:
            yield arm, seed


def _digest(arm: Arm, spec: StudySpec) -> hashlib._Hash:
    """Hash of what determines a result, but for the seed. Lanes, paths and logging are no part of it."""
    train = arm.config.get("train")
    common = {
        "config": arm.config,
        "entrypoint": spec.entrypoint,
        "max": spec.stopping.max,
        "unit": spec.stopping.unit,
        "world_size": spec.resources.workers,
        "precision": train.get("precision") if isinstance(train, Mapping) else None,
    }
    return hashlib.sha256(canonical(common).encode())


def _cell_id(digest: hashlib._Hash, seed: int, phase: str, sample: int | None) -> str:
    whole = digest.copy()
    whole.update(canonical({"seed": seed, "phase": phase, "sample": sample}).encode())
    return whole.hexdigest()[:12]
