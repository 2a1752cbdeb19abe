"""Where a recorded study stands, as plain data: what `status` and `watch` print and the page draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.decide.states import TrialState
from orchestrator.study.naming import cell_name

if TYPE_CHECKING:
    from orchestrator.record.run import Run
    from orchestrator.record.state import TrialRecord


GLYPHS: dict[str, str] = {
    "pending": "·",
    "running": "▶",
    "done": "✓",
    "stopped": "■",
    "diverged": "≈",
    "failed": "✗",
    "cancelled": "○",
    "skipped": "–",
}
"""One character per state of a trial."""


@dataclass(frozen=True)
class Stop:
    """Why a rule ended a trial. `cutoff` is in the user's units; `peers` counts this trial too."""

    rule: str
    rung: float | None
    cutoff: float | None
    rank: int | None
    peers: int | None


@dataclass(frozen=True)
class CellStanding:
    """One cell. `length` in the study's unit, `value` in the user's units, `trial_dir` below the study."""

    cell: str
    arm: str
    seed: int
    phase: str
    sample: int | None
    state: TrialState
    cause: str | None
    reason: str | None
    length: float | None
    value: float | None
    attempts: int
    wall_s: float
    gpu_s: float
    trial_dir: str
    stop: Stop | None

    @property
    def name(self) -> str:
        """For people."""
        return cell_name(self.arm, self.seed, self.phase, self.sample)


@dataclass(frozen=True)
class StudyStanding:
    """The study. `driver`: who runs it now, if anybody; `saved`: training length that stops have spared."""

    study: str
    root: str
    metric: str
    mode: str
    unit: str
    max_length: float
    driver: str | None
    arms: tuple[str, ...]
    cells: tuple[CellStanding, ...]
    saved: float
    problems: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Cells per state; states without cells are left out."""
        tally = {state.value: sum(cell.state is state for cell in self.cells) for state in TrialState}
        return {state: number for state, number in tally.items() if number}

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status --json`."""
        return {**asdict(self), "counts": self.counts()}

    def _repr_html_(self) -> str:
        from orchestrator.report.notebook import standing_html

        return standing_html(self)


def standing(run: Run, clock: Callable[[], float] = time.time) -> StudyStanding:
    """Read where a study stands. Raises `StudyError` when its record is damaged."""
    from orchestrator.record.lease import describe, is_alive, read_lease

    recorded = run.view()
    spec, plan, history = recorded.spec, recorded.plan, recorded.state
    lease = read_lease(run.storage, run.paths)
    alive = lease is not None and is_alive(lease, clock())
    progress = recorded.progress() if alive else None
    cells = tuple(_cell(history.cells[cell.cell], spec["metric"]["mode"], progress) for cell in plan.cells)
    maximum = float(spec["stopping"]["max"])
    return StudyStanding(
        study=plan.study,
        root=run.root,
        metric=spec["metric"]["name"],
        mode=spec["metric"]["mode"],
        unit=spec["stopping"]["unit"],
        max_length=maximum,
        driver=describe(lease) if alive and lease is not None else None,
        arms=tuple(arm.name for arm in plan.arms),
        cells=cells,
        saved=sum(maximum - (cell.length or 0.0) for cell in cells if cell.state is TrialState.STOPPED),
        problems=tuple(history.problems),
    )


def _cell(record: TrialRecord, mode: str, progress: Mapping[str, Any] | None) -> CellStanding:
    now = (progress or {}).get(record.cell)
    latest = now if isinstance(now, Mapping) and record.state is TrialState.RUNNING else {}
    return CellStanding(
        cell=record.cell,
        arm=record.arm,
        seed=record.seed,
        phase=record.phase,
        sample=record.sample,
        state=record.state,
        cause=record.cause.value if record.cause else None,
        reason=record.reason,
        length=latest.get("length", record.length),
        value=latest.get("value", record.value),
        attempts=record.attempts,
        wall_s=record.wall_s,
        gpu_s=record.gpu_s,
        trial_dir=record.trial_dir,
        stop=_stop(record, mode),
    )


def _stop(record: TrialRecord, mode: str) -> Stop | None:
    """The last decision that ended this cell, if a decision did."""
    last = record.stop
    if last is None or record.state not in (TrialState.STOPPED, TrialState.DIVERGED):
        return None
    cutoff = last.cutoff if last.cutoff is None or mode == "max" else -last.cutoff
    return Stop(last.rule, last.rung, cutoff, last.rank, last.peers)
