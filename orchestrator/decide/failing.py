"""What follows when runs fail for their own reasons: whether a study goes on, and which arms get no more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from orchestrator.decide.evaluation import OUTCOMES, Facts, is_outcome
from orchestrator.decide.states import TrialState
from orchestrator.study.cells import TUNE, Cell, Plan
from orchestrator.study.spec import StopWhen

ENOUGH = 2
"""Runs of an arm after which it gets no more, where all of them have failed."""


def failed(fact: Facts) -> bool:
    """Whether the run ended without a value for reasons of its own: what a second try would not mend."""
    return fact.state is TrialState.FAILED and fact.cause in OUTCOMES


def stops_study(when: StopWhen, plan: Plan, facts: Mapping[str, Facts], last: Cell) -> str | None:
    """Return why a study ends with the failure of `last`; None while it goes on.

    `first`: a run of the reference arm has failed and none of it has come to its end, so that no effect can
    be estimated, and what is common to all arms is the likely cause. Of a search, whose settings are drawn,
    every sample of the arm has to fail. `all`: a run of every arm has failed, and none has come to its end.
    """
    if when == "never":
        return None
    if when == "first":
        if last.arm != plan.reference:
            return None
        runs = [cell for cell in plan.cells if cell.arm == last.arm]
        if last.phase == TUNE:
            runs = [cell for cell in runs if cell.phase == TUNE]
            if not all(failed(facts[cell.cell]) for cell in runs):
                return None
        return None if any(_ended(facts, runs)) else "no run of the reference arm has come to its end"
    if any(_ended(facts, plan.cells)):
        return None
    without = {arm.name for arm in plan.arms} - {c.arm for c in plan.cells if failed(facts[c.cell])}
    return None if without else "every arm has a run that failed, and no run has come to its end"


def _ended(facts: Mapping[str, Facts], cells: Iterable[Cell]) -> Iterator[bool]:
    return (facts[cell.cell].state in (TrialState.DONE, TrialState.STOPPED) for cell in cells)


def spent(when: StopWhen, plan: Plan, facts: Mapping[str, Facts]) -> dict[str, str]:
    """Return the cells that need not run since every run of their arm so far has failed, with the reason.

    `stop_when: never` runs them all the same.
    """
    runs: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in plan.cells if when != "never" else ():
        if cell.phase != TUNE:
            runs[cell.arm, cell.phase].append(cell)
    return {cell: why for cells in runs.values() for cell, why in _spent(cells, facts)}


def _spent(cells: list[Cell], facts: Mapping[str, Facts]) -> Iterator[tuple[str, str]]:
    lost = [cell for cell in cells if failed(facts[cell.cell])]
    if len(lost) < ENOUGH or any(_ended(facts, cells)):
        return
    seeds = ", ".join(str(cell.seed) for cell in lost)
    for cell in cells:
        if not is_outcome(facts[cell.cell]):
            yield cell.cell, f"all runs of the arm so far have failed (seeds {seeds})"
