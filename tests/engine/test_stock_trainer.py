"""A Ray that has moved the names which lanes build on: the same study on Ray Train's own trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from workbench import STUBBORN, Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = STUBBORN + "name: stock\nseeds: 2\ndeterministic: true\n"

# Python reads it at the start of every process, Ray's included.
WITHOUT_THE_TRAINER = 'import sys\n\nsys.modules["orchestrator.engine.ray_private.trainer"] = None\n'


def test_a_study_runs_on_the_stock_trainer(bench: Callable[[str, str, str], Bench], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_THE_TRAINER)
    here = f'import os\n\nos.environ["PYTHONPATH"] += os.pathsep + {str(tmp_path)!r}\n'
    study = bench("stubborn", STUDY, here)
    run = study.run()
    assert run.code == 0, run.err
    rows = study.results()
    assert {(row["state"], row["attempts"]) for row in rows.values()} == {("done", 1)}
    assert [row["loss"] for row in study.rows("level=two", 1)] == [2.0, 1.0, 2 / 3]
    lanes = [event["lane"] for event in study.events("end")]
    assert len(set(lanes)) < len(lanes)  # still warm lanes
