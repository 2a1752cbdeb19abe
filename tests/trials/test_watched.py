"""The monitors that an example's kind brings find what they look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from memorysink import MemorySink

from orchestrator.study.loading import load_study
from orchestrator.training.local import LocalSession
from orchestrator.training.loop import run_task
from trials.charlm import CharLM
from trials.digits import Digits
from trials.generator import Draw
from trials.segment import Segment

ROOT = Path(__file__).parents[2]
SMALL = {"charlm": ["baseline.model.width=16", "baseline.model.layers=1", "baseline.data.context=32"]}


@pytest.mark.parametrize(
    ("study", "task", "seen"),
    [
        ("digits", Digits, {"confusion", "best_worst", "gradcam"}),
        ("charlm", CharLM, {"metrics", "best_worst"}),
        ("segment", Segment, {"metrics", "confusion", "best_worst"}),
        ("generator", Draw, {"best_worst"}),
    ],
)
def test_monitors_by_kind(
    study: str, task: Any, seen: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    spec = load_study(ROOT / "configs" / f"{study}.yaml", SMALL.get(study, []), cwd=ROOT).spec
    sink = MemorySink()
    config = {**spec.baseline, "seed": 0}
    session = LocalSession(config, 2, str(tmp_path), unit="step", monitors="auto", sink=sink)
    run_task(task, session)
    said = {name.split("/")[0] for name in [*(e.tag for e in sink.entries), *sink.last_scalars()]}
    assert seen <= said
