"""What the study cost, arm by arm: it adds up to the seconds in results.parquet."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from itertools import chain

from orchestrator.decide.states import TrialState
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.reporting.model import Ledger, LedgerEntry
from orchestrator.study.cells import TUNE, Plan
from orchestrator.study.spec import StudySpec

_FRUITFUL = (TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED)
_SAVING = (TrialState.STOPPED, TrialState.DIVERGED, TrialState.SKIPPED)


def ledger(spec: StudySpec, plan: Plan, history: StudyState) -> Ledger:
    """Every cell of the plan once, whatever became of it; arms in the plan's order."""
    groups: dict[tuple[str, str, TrialState], list[TrialRecord]] = {}
    for cell in chain.from_iterable(plan.by_arm.values()):
        record = history.cells[cell.cell]
        groups.setdefault((cell.arm, cell.phase, record.state), []).append(record)
    entries = tuple(
        LedgerEntry(
            *key,
            runs=len(records),
            spent=math.fsum(record.length or 0.0 for record in records),
            wall_s=math.fsum(record.wall_s for record in records),
            gpu_s=math.fsum(record.gpu_s for record in records),
        )
        for key, records in groups.items()
    )
    everything = list(history.cells.values())
    seeds = frozenset(spec.seeds)
    within = [record for record in everything if in_grid(seeds, record)]
    grid = spec.stopping.max * len(within)
    fruitful = {record.arm for record in everything if record.state in _FRUITFUL}
    failing = plan.reference not in fruitful  # then nothing was found out, and nothing spared by it
    untrained = math.fsum(
        max(0.0, spec.stopping.max - (record.length or 0.0))
        for record in within
        if record.state in _SAVING
        and (record.state is not TrialState.SKIPPED or (record.arm in fruitful and not failing))
    )
    beyond = _trained(everything) - _trained(within)
    return Ledger(
        entries=entries,
        wall_s=math.fsum(record.wall_s for record in everything),
        gpu_s=math.fsum(record.gpu_s for record in everything),
        spent=_trained(everything),
        grid=grid,
        saved=max(0.0, untrained - beyond) / grid if grid else 0.0,
    )


def in_grid(seeds: Container[int], record: TrialRecord) -> bool:
    """Whether the grid without any rule has this run: reinvested seeds are beyond those of the study."""
    return record.phase == TUNE or record.seed in seeds


def _trained(records: Iterable[TrialRecord]) -> float:
    return math.fsum(record.length or 0.0 for record in records)
