"""What people see of a running study, from the conductor's cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.engine.live import LiveCell
from orchestrator.engine.snapshot import CellView, Snapshot
from orchestrator.study.cells import Plan
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Times:
    """Seconds of this run, GPU seconds of the study, cells that wait, cells ended before this run."""

    elapsed_s: float
    gpu_s: float
    waiting: int
    done_before: int


def counts(cells: Iterable[LiveCell]) -> dict[str, int]:
    """Cells per state, states without cells included."""
    tally = Counter(str(live.state) for live in cells)
    return {str(state): tally[str(state)] for state in TrialState}


def progress(running: Sequence[LiveCell]) -> dict[str, Any]:
    """Cell to its length, value, lane and attempt."""
    return {
        live.cell.cell: {
            "length": live.length,
            "value": live.value,
            "lane": live.lane,
            "attempt": live.attempts,
        }
        for live in running
    }


def snapshot(
    spec: StudySpec, plan: Plan, cells: Sequence[LiveCell], times: Times, lanes: int, notes: tuple[str, ...]
) -> Snapshot:
    """The live table's data."""
    return Snapshot(
        study=spec.name,
        metric=spec.metric.name,
        mode=spec.metric.mode,
        unit=spec.stopping.unit,
        max_length=float(spec.stopping.max),
        lanes=lanes,
        elapsed_s=times.elapsed_s,
        spent_gpu_h=times.gpu_s / 3600,
        eta_s=_seconds_left(cells, times, float(spec.stopping.max)),
        cells=tuple(_cell(live) for live in cells),
        arms=tuple(arm.name for arm in plan.arms),
        notes=notes,
    )


def _cell(live: LiveCell) -> CellView:
    return CellView(
        cell=live.cell.cell,
        arm=live.cell.arm,
        seed=live.cell.seed,
        state=live.state,
        length=live.length,
        value=live.value,
        attempt=live.attempts,
        lane=live.lane,
        reason=live.reason,
        phase=live.cell.phase,
        sample=live.cell.sample,
    )


def _seconds_left(cells: Sequence[LiveCell], times: Times, full: float) -> float | None:
    """From the length trained in this run; None until half a trial is through."""
    under_way = [min(1.0, (live.length or 0.0) / full) for live in cells if live.state is TrialState.RUNNING]
    ended = sum(live.state.terminal for live in cells) - times.done_before
    trained = ended + sum(under_way)
    if trained < 0.5:
        return None
    left = times.waiting + sum(1 - share for share in under_way)
    return times.elapsed_s * left / trained
