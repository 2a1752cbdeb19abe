"""What a study has cost so far, against its budget and its full grid, and how long it still takes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.decide.agenda import depends_on_results
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import shortest
from orchestrator.decide.timeleft import TimeLeft, measured, time_left
from orchestrator.reporting.model import Ledger
from orchestrator.reporting.running import RunNow
from orchestrator.reporting.standing import StudyStanding
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Costs:
    """Time of worker groups and of GPUs, those of running trials up to their latest report included.

    `grid_wall_s`, `grid_gpu_s`: what every planned run at full length would take at the pace of those that
    were measured, None while that is not known; `left`: None as well; `runs_left`: trials that run or wait;
    `open_ended`: whether results may call for more of them, or fewer.
    """

    ledger: Ledger
    wall_s: float
    gpu_s: float
    grid_wall_s: float | None
    grid_gpu_s: float | None
    left: TimeLeft | None
    runs_left: int
    open_ended: bool


def costs(spec: StudySpec, spent: Ledger, found: StudyStanding, now: RunNow) -> Costs:
    """Return what a study has cost. `spent`: by what is recorded; `now`: what runs."""
    full = float(spec.stopping.max)
    pace = measured(found.cells, full)
    running = [cell for cell in found.cells if cell.state is TrialState.RUNNING]
    waiting = now.waiting
    if waiting is None:  # its driver has not said so, or there is none
        waiting = sum(cell.is_left(False) for cell in found.cells) - len(running)
    lanes = len(running) if now.fit is None else now.fit
    under_way = max(0.0, sum(cell.wall_s for cell in found.cells) - spent.wall_s)
    return Costs(
        spent,
        spent.wall_s + under_way,
        spent.gpu_s + under_way * now.gpus,
        None if pace is None else pace.unit_s * spent.grid,
        None if pace is None else pace.unit_gpu_s * spent.grid,
        time_left(found.cells, full, lanes=lanes, waiting=waiting, shortest=shortest(spec))
        if found.driver is not None and lanes
        else None,
        len(running) + waiting,
        depends_on_results(spec),
    )
