"""What a study has cost so far, against its full grid, and how long it still takes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.decide.agenda import depends_on_results
from orchestrator.decide.stopping import shortest
from orchestrator.decide.timeleft import MeasuredPace, TimeLeft, Timings, reach, time_left
from orchestrator.record.state import StudyState
from orchestrator.reporting.running import RunNow
from orchestrator.reporting.tally import Tally
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Costs:
    """Trained length, time of lanes and of GPUs, those of running trials up to their latest report included.

    `grid`: length of all planned runs, which take `grid_wall_s` and `grid_gpu_s` at the `pace` of those
    that were measured, None while that is not known; so is `left`, which is of a study that somebody runs;
    `runs_left`: trials that run or wait; `open_ended`: whether results may call for more of them, or fewer.
    """

    spent: float
    wall_s: float
    gpu_s: float
    grid: float
    pace: MeasuredPace | None
    left: TimeLeft | None
    runs_left: int
    open_ended: bool

    @property
    def grid_wall_s(self) -> float | None:
        """Seconds of lanes."""
        return None if self.pace is None else self.pace.unit_s * self.grid

    @property
    def grid_gpu_s(self) -> float | None:
        """Seconds of GPUs."""
        return None if self.pace is None else self.pace.unit_gpu_s * self.grid


def costs(spec: StudySpec, tally: Tally, recorded: StudyState, now: RunNow) -> Costs:
    """Return what a study has cost. `tally`: of all trials, as they are `recorded`; `now`: what runs."""
    full = float(spec.stopping.max)
    running = [lane.trial for lane in now.lanes]
    before = [recorded.cells.get(trial.cell, trial) for trial in running]
    under_way = max(0.0, sum(trial.wall_s for trial in running) - sum(one.wall_s for one in before))
    trained = sum(trial.length or 0.0 for trial in running) - sum(one.length or 0.0 for one in before)
    timings = tally.timings + Timings.of(running, full)
    # its driver has not said how many wait, or there is none
    waiting = max(0, tally.left - len(running)) if now.waiting is None else now.waiting
    lanes = len(running) if now.fit is None else now.fit
    left = [full - reach(trial, full) for trial in running]
    return Costs(
        tally.spent + trained,
        tally.wall_s + under_way,
        tally.gpu_s + under_way * now.gpus,
        tally.grid,
        timings.pace(full),
        time_left(timings, left, full, lanes=lanes, waiting=waiting, shortest=shortest(spec))
        if lanes
        else None,
        len(running) + waiting,
        depends_on_results(spec),
    )
