from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.record.history import fold
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.report.build import build_report
from orchestrator.report.model import StudyReport
from orchestrator.study.cells import make_plan
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


@dataclass(frozen=True)
class Studied:
    storage: Storage
    paths: StudyPaths
    report: StudyReport


Outcomes = Mapping[str, Mapping[int, Ended | float | None]]
Build = Callable[..., Studied]


@pytest.fixture
def study(tmp_path: Path) -> Build:
    """Build the report of a study from {arm: {seed: value or Ended}}; missing runs never started."""

    def build(
        outcomes: Outcomes,
        *,
        seeds: int = 3,
        components: Any = None,
        plans: list[list[str]] | None = None,
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
        for cell in plan.cells:
            ended = outcomes.get(cell.arm, {}).get(cell.seed)
            if ended is None:
                continue
            ended = ended if isinstance(ended, Ended) else Ended(ended)
            common = {"cell": cell.cell, "arm": cell.arm, "seed": cell.seed, "attempt": 1}
            events.append({"event": "assign", "lane": 0, "resume": None, **common})
            if ended.state == "running":
                continue
            events.append({"event": "end", **common, **vars(ended)})
        history = fold(events, plan)
        assert not history.problems
        storage, paths = Storage.open(tmp_path), StudyPaths.of(spec.name)
        return Studied(storage, paths, build_report(storage, paths, spec, plan, history))

    return build


@pytest.fixture
def ended() -> type[Ended]:
    return Ended
