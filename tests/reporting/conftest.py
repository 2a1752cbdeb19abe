from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.decide.agenda import agenda
from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.events import Assigned, BatchAdded, Event, Started, StudyStarted, TrialEnd
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import StudyState, fold
from orchestrator.record.storage import Storage
from orchestrator.reporting.build import build_report
from orchestrator.reporting.curves import with_curves
from orchestrator.reporting.model import StudyReport
from orchestrator.study.cells import FIXED, Cell, make_plan
from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class Ended:
    """How a run ended in these tests; `done` at full length unless it says otherwise."""

    value: float | None = None
    state: str = "done"
    cause: str | None = None
    reason: str | None = None
    length: float = 9
    wall_s: float = 30.0
    gpu_s: float = 0.0
    devices: tuple[str, ...] = ("CPU",)
    beside: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Studied:
    storage: Storage
    paths: StudyPaths
    report: StudyReport
    history: StudyState
    spec: StudySpec

    @property
    def folder(self) -> Path:
        return self.storage.local_path(self.paths.root)


Outcomes = Mapping[str, Mapping[int, Ended | float | None]]
Build = Callable[..., Studied]


@pytest.fixture
def study(tmp_path: Path) -> Build:
    """Build the report of a study from {arm: {seed: value or Ended}}; missing runs never started.

    `curves`: {arm: {seed: values of the epochs}}, written as metric tables; `later`: how samples, winners and
    pairs ended, which the study calls for as it goes on.
    """

    def build(
        outcomes: Outcomes,
        *,
        seeds: int = 3,
        components: Any = None,
        plans: list[list[str]] | None = None,
        curves: Mapping[str, Mapping[int, Sequence[float]]] | None = None,
        later: Callable[[Cell], Ended | float | None] = lambda cell: None,
        **changes: Any,
    ) -> Studied:
        names = [arm.removeprefix("no-") for arm in outcomes if arm.startswith("no-")]
        spec = StudySpec.model_validate(
            {
                "name": "digits",
                "entrypoint": "trials.digits:Digits",
                "metric": {"name": "val/accuracy", "mode": "max"},
                "baseline": dict.fromkeys(names, True) | {"opt": "adam"},
                "components": components or {name: {"without": {name: False}} for name in names},
                "seeds": seeds,
                "stopping": {"rule": "none", "max": 9},
                "storage": str(tmp_path),
                **changes,
            }
        )
        plan = make_plan(spec)
        planned = plans or [[arm.name for arm in plan.arms]]
        events: list[Event] = [StudyStarted("hash", 1, "new", tuple(arms)) for arms in planned]
        new: Sequence[Cell] = plan.cells
        while new:
            for cell in new:
                known = cell.phase == FIXED and cell.arm in outcomes
                events += _events(cell, outcomes[cell.arm].get(cell.seed) if known else later(cell))
            history = fold(events, plan)
            batches = agenda(spec, history.plan, history.cells, history.families).batches
            events += map(BatchAdded.of, batches)
            new = [cell for batch in batches for cell in batch.cells]
        assert not history.problems
        storage, paths = Storage.open(tmp_path), StudyPaths.of(spec.name)
        for trial in history.cells.values():
            if trial.begun:
                (tmp_path / paths.root / trial.trial_dir).mkdir(parents=True, exist_ok=True)
        report = build_report(storage, paths, spec, history.plan, history)
        if curves is not None:
            _write_curves(storage, paths, spec.metric.name, curves)
            report = with_curves(report, storage, paths, spec)
        return Studied(storage, paths, report, history, spec)

    return build


def _events(cell: Cell, ended: Ended | float | None) -> list[Event]:
    if ended is None:
        return []
    ended = ended if isinstance(ended, Ended) else Ended(ended)
    events: list[Event] = [
        Assigned(cell.cell, cell.arm, cell.seed, 1, None, None),
        Started(cell.cell, 1, "lane-0", ended.devices, None),
    ]
    if ended.state != "running":
        how = (TrialState(ended.state), Cause(ended.cause) if ended.cause else None, ended.reason)
        costs = (ended.wall_s, ended.gpu_s)
        end = TrialEnd(cell.cell, cell.arm, cell.seed, 1, *how, ended.length, ended.value, *costs)
        events.append(replace(end, beside=None if ended.beside is None else dict(ended.beside)))
    return events


def _write_curves(
    storage: Storage, paths: StudyPaths, metric: str, curves: Mapping[str, Mapping[int, Sequence[float]]]
) -> None:
    for arm, by_seed in curves.items():
        for seed, values in by_seed.items():
            rows = [
                {
                    "report": epoch,
                    "step": 10 * epoch,
                    "epoch": epoch,
                    "time_s": 2.0 * epoch,
                    "attempt": 1,
                    metric: v,
                }
                for epoch, v in enumerate(values, 1)
            ]
            lines = "".join(f"{json.dumps(row)}\n" for row in rows)
            storage.write_atomic(paths.trial(arm, seed).table("metrics").jsonl, lines)


@pytest.fixture
def ended() -> type[Ended]:
    return Ended
