"""What a study would take before it starts: trials that are left, worker groups that fit, time and disk."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.api import describe
from orchestrator.api.machine import Machine, slots
from orchestrator.decide.agenda import agenda
from orchestrator.decide.states import TrialState
from orchestrator.engine.sharing import StudyRegister, Tenant
from orchestrator.errors import ChangedStudy
from orchestrator.record.codeidentity import PackedCode
from orchestrator.record.lease import read_lease, refuse_if_held
from orchestrator.record.recorded import RecordedStudy, read_record
from orchestrator.record.state import StudyState, fold
from orchestrator.record.studyrecord import How, Start, reconcile, same_study
from orchestrator.study.designs import cells_per_arm
from orchestrator.study.registered import rule_of

if TYPE_CHECKING:
    from orchestrator.api.study import Study
    from orchestrator.record.run import Run
    from orchestrator.study.cells import Plan
    from orchestrator.study.spec import StudySpec


Begins = How | Literal["fresh", "changed"]
"""`fresh`: what is recorded is put aside; `changed`: it is another study, so the command is refused."""


@dataclass(frozen=True)
class RunCost:
    """What one run to full length takes, on average."""

    wall_s: float
    gpu_s: float
    disk_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What is left to do. `None` where nothing recorded tells; `wall_s` is training time over the slots."""

    runs: int
    wall_s: float | None
    gpu_h: float | None
    disk_bytes: int | None

    @classmethod
    def of(cls, runs: int, slot_count: int, cost: RunCost | None) -> Estimate:
        """Return what `runs` take on so many slots, when it is known what one takes."""
        if cost is None:
            return cls(runs, None, None, None)
        return cls(
            runs=runs,
            wall_s=math.ceil(runs / slot_count) * cost.wall_s if slot_count else None,
            gpu_h=runs * cost.gpu_s / 3600,
            disk_bytes=runs * cost.disk_bytes,
        )


@dataclass(frozen=True)
class Forecast:
    """A plan and what is known of its cost.

    `remaining`: the cells that the next run takes, in order; under `resolve` the most it can take. `slots`:
    trials at the same time on this machine. `answered`: cells that are answered already; `others`: studies
    that run or wait on this machine now; `begins`: what becomes of a study that is recorded under the name.
    """

    spec: StudySpec
    plan: Plan
    remaining: tuple[str, ...]
    slots: int
    estimate: Estimate
    answered: int = 0
    others: tuple[Tenant, ...] = ()
    begins: Begins = "new"

    @property
    def at_most(self) -> bool:
        """Whether results may call for less than the estimate."""
        return bool(rule_of(self.spec).looks(self.spec)) or bool(describe.later_pairs(self.spec, self.plan))

    def _repr_html_(self) -> str:
        from orchestrator.api.html import forecast_html

        return forecast_html(self)


def forecast(
    study: Study, *, retry_failed: bool = False, fresh: bool = False, earlier: Run | None = None
) -> Forecast:
    """Compare the plan with what is recorded; starts nothing, writes nothing.

    Args:
        study: the study.
        retry_failed: as in `Study.run`.
        fresh: as in `Study.run`.
        earlier: a study to tell what a run takes, while this one has finished none.
    """
    spec, plan = study.spec, study.plan
    recorded = None if fresh else read_record(study.storage, study.paths)
    state = None if recorded is None else recorded.state_of(plan)
    cost = None if state is None else _cost(study.recorded(), state)
    if cost is None and earlier is not None:
        cost = _cost_elsewhere(earlier, spec)
    remaining = _remaining(spec, state or fold([], plan), retry_failed)
    count = slots(spec.resources, Machine.here(), len(remaining) or len(plan.cells))
    runs = _runs(spec, plan, remaining, state)
    answered = 0 if state is None else sum(record.state.answered for record in state.cells.values())
    here = study.storage.path(study.paths.root)
    others = tuple(tenant for tenant in StudyRegister.here().tenants() if tenant.root != here)
    return Forecast(
        spec,
        plan,
        remaining,
        count,
        Estimate.of(runs, count, cost),
        answered,
        others,
        _begins(study, recorded, fresh),
    )


def _begins(study: Study, recorded: RecordedStudy | None, fresh: bool) -> Begins:
    if recorded is None:
        return "fresh" if fresh and study.storage.exists(study.paths.plan_json) else "new"
    try:
        return same_study(recorded, study.spec, extend=True)
    except ChangedStudy:
        return "changed"


def refuse_changes(
    study: Study, *, fresh: bool, extend: bool, accept_code_change: bool, retry_failed: bool
) -> None:
    """Refuse what a run would refuse: other settings or other code than those on disk, a study that runs.

    Args:
        study: the study.
        fresh: as in `Study.run`, as are the others.
        extend: more arms and seeds are no change.
        accept_code_change: other code is no change.
        retry_failed: nor is it where failed cells are run again.

    Raises:
        ChangedStudy, ChangedCode: with every difference.
        StudyHeld: it runs now.
    """
    refuse_if_held(read_lease(study.storage, study.paths), time.time(), study.paths)
    code = PackedCode.of(study.entrypoint, study.spec)
    found = None if fresh else read_record(study.storage, study.paths)
    start = Start(
        code.hash,
        code.archive,
        extend=extend,
        accept_code_change=accept_code_change,
        retry_failed=retry_failed,
    )
    reconcile(found, study.spec, study.plan, start)


def _cost(run: Run, state: StudyState, scale: float = 1.0) -> RunCost | None:
    """Averaged over the finished runs of a study; None when it has none.

    Args:
        scale: full length of the runs that are asked about, over that of the study's.
    """
    finished = [record for record in state.cells.values() if record.state is TrialState.DONE]
    if not finished:
        return None
    one = finished[0]
    folder = run.paths.trial_dir(one.arm, one.seed, one.sample, one.phase)
    return RunCost(
        wall_s=scale * sum(record.wall_s for record in finished) / len(finished),
        gpu_s=scale * sum(record.gpu_s for record in finished) / len(finished),
        disk_bytes=sum(run.storage.sizes(folder).values()),
    )


def _cost_elsewhere(run: Run, spec: StudySpec) -> RunCost | None:
    """Return what a run takes as another study tells it; None when it measures length in another unit."""
    view = run.view()
    stopping = view.spec["stopping"]
    if stopping["unit"] != spec.stopping.unit:
        return None
    return _cost(run, view.state, float(spec.stopping.max) / float(stopping["max"]))


def _runs(spec: StudySpec, plan: Plan, remaining: tuple[str, ...], state: StudyState | None) -> int:
    """How many runs are left, at most: results may call for cells that are not in the plan yet, or for
    fewer.
    """
    if not remaining:
        return 0
    later = describe.later_pairs(spec, plan) * len(spec.seeds)
    goal = rule_of(spec).goal(spec)
    if spec.tune is None and not (goal and goal.budgeted):
        return len(remaining) + later
    begun = 0 if state is None else sum(record.attempts > 0 for record in state.cells.values())
    return max(1, len(plan.arms) * cells_per_arm(spec) - begun) + later


def _remaining(spec: StudySpec, state: StudyState, retry_failed: bool) -> tuple[str, ...]:
    """Return the cells that may still run: first those that have to, in their order, then those that looks
    may ask for.
    """
    left = set(state.remaining(retry_failed))
    todo = agenda(spec, state.plan, state.with_open(left), state.families)
    cells = dict.fromkeys((*todo.wanted, *todo.ahead, *state.cells))
    return tuple(cell for cell in cells if cell in left and cell not in todo.skip)
