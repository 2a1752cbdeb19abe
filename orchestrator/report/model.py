"""The report as data. Every form draws the same `StudyReport`; none of them computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.decide.states import Cause, TrialState
from orchestrator.stats.effects import Effect, Mode, Sample
from orchestrator.stats.pairing import Pairing

FULL_LENGTH: Literal["full-length"] = "full-length"
RUNG_ONLY: Literal["rung-only"] = "rung-only"
FAILS = "fails"


@dataclass(frozen=True)
class Run:
    """One cell: `length` in the study's unit, `value` in the metric's, `trial_dir` below the study's."""

    cell: str
    seed: int
    state: TrialState
    cause: Cause | None
    reason: str | None
    length: float | None
    value: float | None
    used: bool
    attempts: int
    trial_dir: str
    accepted_code_change: bool = False


@dataclass(frozen=True)
class ArmReport:
    """One arm with all its runs; `effect` is None for the reference. Seconds are summed over all attempts."""

    arm: str
    kind: str
    component: str | None
    why: str | None
    change: Mapping[str, Any]
    runs: tuple[Run, ...]
    summary: Sample
    wall_s: float
    gpu_s: float
    effect: Effect | None = None

    @property
    def trial_dir(self) -> str:
        """The directory of the arm's trials, below the study's."""
        return self.runs[0].trial_dir.rsplit("/", 1)[0]

    def count(self, *states: TrialState) -> int:
        """How many of the runs are in one of these states."""
        return sum(run.state in states for run in self.runs)

    @property
    def failed(self) -> int:
        """Runs that ended without an answer in value: failed or diverged."""
        return self.count(TrialState.FAILED, TrialState.DIVERGED)


@dataclass(frozen=True)
class Cost:
    """What was spent. `spent` and `grid`: trained length in the study's unit, so far and of the whole grid.

    `saved` is the share of the grid that stopped, diverged and skipped cells did not train (0 to 1).
    """

    wall_s: float
    gpu_s: float
    spent: float
    grid: float
    saved: float


@dataclass(frozen=True)
class StudyReport:
    """Everything that a report says about a study.

    `families`: names of the arms that are corrected together, first those of the first plan, then one family
    for each later extension; `location`: the study's directory, for the reader.
    """

    study: str
    metric: str
    mode: Mode
    unit: str
    max_length: float
    rule: str
    tier: Literal["full-length", "rung-only"]
    alpha: float
    margin: float | None
    reference: ArmReport
    arms: tuple[ArmReport, ...]
    families: tuple[tuple[str, ...], ...]
    pairing: Pairing
    cost: Cost
    ended: int
    total: int
    complete: bool
    notes: tuple[str, ...]
    location: str
    is_local: bool

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The effects of all arms but the reference, in the plan's order."""
        return tuple(arm.effect for arm in self.arms if arm.effect is not None)

    @property
    def left_out(self) -> tuple[tuple[ArmReport, Run], ...]:
        """Runs that ended and yet enter no effect: shown with their reasons, never averaged."""
        return tuple(
            (arm, run)
            for arm in (self.reference, *self.arms)
            for run in arm.runs
            if run.state.terminal and not run.used
        )
