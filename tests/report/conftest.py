from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.decide.agenda import agenda
from orchestrator.record.history import History, fold
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.report.build import build_report
from orchestrator.report.curves import with_curves
from orchestrator.report.model import StudyReport
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


@dataclass(frozen=True)
class Studied:
    storage: Storage
    paths: StudyPaths
    report: StudyReport
    history: History
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
        events: list[dict[str, Any]] = [{"event": "plan", "arms": arms} for arms in planned]
        new: Sequence[Cell] = plan.cells
        while new:
            for cell in new:
                known = cell.phase == FIXED and cell.arm in outcomes
                events += _events(cell, outcomes[cell.arm].get(cell.seed) if known else later(cell))
            history = fold(events, plan)
            batches = agenda(spec, history.plan, history.cells, history.families).batches
            events += [{"event": "batch", **batch.to_json()} for batch in batches]
            new = [cell for batch in batches for cell in batch.cells]
        assert not history.problems
        storage, paths = Storage.open(tmp_path), StudyPaths.of(spec.name)
        report = build_report(storage, paths, spec, history.plan, history)
        if curves is not None:
            _write_curves(storage, paths, spec.metric.name, curves)
            report = with_curves(report, storage, paths, spec)
        return Studied(storage, paths, report, history, spec)

    return build


def _events(cell: Cell, ended: Ended | float | None) -> list[dict[str, Any]]:
    if ended is None:
        return []
    ended = ended if isinstance(ended, Ended) else Ended(ended)
    common = {"cell": cell.cell, "arm": cell.arm, "seed": cell.seed, "attempt": 1}
    assigned = {"event": "assign", "lane": 0, "resume": None, **common}
    end = {"event": "end", **common, **vars(ended)}
    who = {"cell": cell.cell, "attempt": 1, "lane": "lane-0"}
    started = {"event": "start", **who, "devices": list(end.pop("devices")), "resume": None}
    return [assigned, started] if ended.state == "running" else [assigned, started, end]


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
            storage.write_atomic(paths.trial(arm, seed).metrics_jsonl, lines)


@pytest.fixture
def ended() -> type[Ended]:
    return Ended
