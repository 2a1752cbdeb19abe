"""`plan --pilot`: the reference alone, under seeds that no evaluation uses, says what a study can detect."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from workbench import Bench

from orchestrator.api.pilot import FIRST_SEED

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: planned
entrypoint: noisy:train
metric: {name: loss, mode: min}
baseline:
  parts: {a: true, b: true, c: true, d: true, e: true}
components:
  a: {without: {parts.a: false}}
  b: {without: {parts.b: false}}
seeds: 5
stopping: {rule: resolve, max: 4, unit: epoch}
"""


def test_a_pilot_says_what_the_study_can_detect(shared_bench: Callable[..., Bench]) -> None:
    study = shared_bench("noisy", STUDY)
    words = ("plan", "--config", str(study.file), f"storage={study.storage_root}", "--pilot", "3", "--json")
    first = study.call(*words)
    assert first.code == 0, first.err
    plan = json.loads(first.out)
    folder = study.storage_root / "planned-pilot"
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    assert [(row["arm"], row["seed"]) for row in rows] == [("baseline", FIRST_SEED + i) for i in range(3)]
    # the median of χ² with two degrees of freedom is 2 ln 2: as often too large as too small
    typical = math.sqrt(statistics.variance(row["value"] for row in rows) / math.log(2))
    assert plan["power"]["noise"]["sd"] == pytest.approx(typical)
    assert plan["power"]["smallest_effect"] > 0
    assert {cell["seed"] for cell in plan["cells"]}.isdisjoint(row["seed"] for row in rows)
    assert not (study.storage_root / "planned").exists()
    # the same pilot again is read, not run; one of another recipe is moved aside
    assert json.loads(study.call(*words).out) == plan
    changed = study.call(*words, "stopping.max=5")
    assert changed.code == 0, changed.err
    assert (
        len([entry for entry in Path(study.storage_root).iterdir() if entry.name.startswith("planned-pilot")])
        == 2
    )
