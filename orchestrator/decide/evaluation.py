"""What a study evaluates, and its results as arms × seeds: the same for decisions and reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.decide.states import Cause, TrialState
from orchestrator.study.cells import Plan, evaluation_seeds
from orchestrator.study.spec import StudySpec

OUTCOMES = frozenset({Cause.USER, Cause.OOM, Cause.SHORT})
"""Failures that are findings of the arm; after the others the same seed runs again."""


class Facts(Protocol):
    """What is known of a cell, such as a `TrialRecord`. `value`, `curve` in the user's units."""

    @property
    def state(self) -> TrialState: ...

    @property
    def cause(self) -> Cause | None: ...

    @property
    def value(self) -> float | None: ...

    @property
    def curve(self) -> tuple[float | None, ...]: ...


@dataclass(frozen=True)
class Evaluation:
    """Arms that are judged together: one phase, one Holm family. The reference is the first of `arms`.

    `cells` maps (arm, seed) to the identity of the cell; one that is not there yet has no cell.
    """

    phase: str
    family: int
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: Mapping[tuple[str, int], str]


@dataclass(frozen=True)
class OutcomeTable:
    """Results, arms × seeds. `values` in the user's units, NaN: none; `ended`: the run is over.

    `curves`: arms × seeds × rungs, the values that runs would have had at the rungs, the end included.
    """

    values: NDArray[np.float64]
    ended: NDArray[np.bool_]
    curves: NDArray[np.float64]


def evaluations(spec: StudySpec, plan: Plan, families: Mapping[str, int]) -> tuple[Evaluation, ...]:
    """All evaluations of the study, in the order in which they are shown.

    Args:
        families: arm -> number of the start that brought it (`StudyState.families`); arms that `--extend` has
            added are judged among themselves, against the same reference.
    """
    arms = [arm.name for arm in plan.arms if arm.kind not in ("reference", "pair")]
    numbers = sorted({families.get(name, 0) for name in arms}) or [0]
    found = []
    for phase in spec.phases:
        cells = {(cell.arm, cell.seed): cell.cell for cell in plan.cells if cell.phase == phase}
        for number in numbers:
            members = tuple(name for name in arms if families.get(name, 0) == number)
            rows = (plan.reference, *members)
            found.append(Evaluation(phase, number, rows, evaluation_seeds(spec), cells))
    return tuple(found)


def table(evaluation: Evaluation, facts: Mapping[str, Facts]) -> OutcomeTable:
    """Return the results that are there. A run that failed by its own fault has ended without a value."""
    shape = len(evaluation.arms), len(evaluation.seeds)
    values, ended = np.full(shape, math.nan), np.zeros(shape, dtype=bool)
    below = max((len(facts[cell].curve) for cell in evaluation.cells.values()), default=0)
    curves = np.full((*shape, below + 1), math.nan)
    for row, arm in enumerate(evaluation.arms):
        for column, seed in enumerate(evaluation.seeds):
            cell = evaluation.cells.get((arm, seed))
            if cell is None:
                continue
            fact = facts[cell]
            ended[row, column] = is_outcome(fact)
            value = final_value(fact)
            if value is not None:
                values[row, column] = curves[row, column, -1] = value
                curves[row, column, :-1] = _padded(fact.curve, below)
    return OutcomeTable(values, ended, curves)


def _padded(curve: tuple[float | None, ...], rungs: int) -> list[float]:
    """Return a curve of so many rungs; records of earlier versions have none."""
    known = [math.nan if value is None else value for value in curve]
    return known if len(known) == rungs else [math.nan] * rungs


def is_outcome(fact: Facts) -> bool:
    """Whether the cell has ended with an answer about its arm, such as a failure of its own."""
    if fact.state in (TrialState.DONE, TrialState.DIVERGED, TrialState.STOPPED):
        return True
    return fact.state is TrialState.FAILED and fact.cause in OUTCOMES


def final_value(fact: Facts) -> float | None:
    """Return the metric of a run that reached its full length; None where there is none that is finite."""
    if fact.state is not TrialState.DONE or fact.value is None or not math.isfinite(fact.value):
        return None
    return fact.value
