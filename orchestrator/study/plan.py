"""Arms, cells and the plan as plain data. Imports little: whoever reads a record does not expand a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from orchestrator.study.naming import cell_name

FIXED, TUNE, RETUNED = "fixed", "tune", "retuned"
PHASES = (FIXED, TUNE, RETUNED)
"""Phases of cells: as the study file says, a sample of the search, with the arm's winner."""


@dataclass(frozen=True)
class Arm:
    """One configuration to be compared: its difference from the baseline, and the config that results.

    `name` is its `arm` in plan.json, as in a cell; `kind` is reference, without, swap, only, pair or
    combination; `set` holds dotted keys; `config` is nested, with references resolved, without `seed` and
    `max_length`. `parts` names the components that the arm takes away together (pair, combination), or is
    empty.
    """

    name: Annotated[str, Field(alias="arm")]
    component: str | None
    kind: str
    set: Mapping[str, Any]
    config: Mapping[str, Any]
    why: str | None = None
    parts: tuple[str, ...] = ()


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
