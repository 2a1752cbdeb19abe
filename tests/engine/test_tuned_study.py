"""Searches and pairs on real lanes: samples are stopped and replaced, winners meet on fresh seeds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from workbench import Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: found
entrypoint: noisy:train
metric: {name: loss, mode: min}
baseline:
  parts: {a: true, b: true, c: true, d: true, e: true}
  lr: 0.5
components:
  b: {without: {parts.b: false}}
  d: {without: {parts.d: false}}
seeds: 3
stopping: {rule: resolve, max: 6, unit: epoch}
"""
SEARCH = """\
tune:
  samples: 6
  search: bayes
  space: {lr: {loguniform: [1e-3, 1.0]}}
  stopping: {rule: asha, grace: 1, reduction: 3}
  compare: both
"""


def rows(study: Bench) -> list[dict[str, Any]]:
    return list(pq.read_table(study.storage.local_path(study.paths.results_parquet)).to_pylist())


def test_every_arm_is_searched_alike(shared_bench: Callable[..., Bench]) -> None:
    study = shared_bench("noisy", STUDY + SEARCH)
    run = study.run()
    assert run.code == 0, run.err
    found = rows(study)
    samples = [row for row in found if row["phase"] == "tune"]
    assert Counter(row["arm"] for row in samples) == {"baseline": 6, "no-b": 6, "no-d": 6}
    assert {row["state"] for row in samples} == {"done", "stopped"}
    batches = study.events("batch")
    chosen = {cell["cell"]: cell["set"] for batch in batches for cell in batch["new_cells"]}
    for arm in ("baseline", "no-b", "no-d"):
        mine = [row for row in samples if row["arm"] == arm]
        best = min((row for row in mine if row["state"] == "done"), key=lambda row: row["value"])
        retuned = [row for row in found if (row["arm"], row["phase"]) == (arm, "retuned")]
        assert [row["seed"] for row in retuned] == [0, 1, 2]
        trial = json.loads(
            (Path(study.storage.local_path(study.paths.root)) / best["trial_dir"] / "trial.json").read_text()
        )
        assert all(chosen[row["cell"]] == {"lr": trial["config"]["lr"]} for row in retuned)
    # a rung compares samples of one arm only
    cells = {row["cell"]: row["arm"] for row in samples}
    reached: Counter[tuple[str, float]] = Counter()
    for event in study.events("decision"):
        reached[cells[event["cell"]], event["rung"]] += 1
        assert event["peers"] == reached[cells[event["cell"]], event["rung"]]
    said = json.loads(Path(study.storage.local_path(study.paths.effects_json)).read_text())
    assert {effect["arm"]: effect["verdict"] for effect in said["effects"]}["no-b"] == "hurts"
    assert said["others"]
    assert study.run().code == 0
    assert rows(study) == found


def test_pairs_of_what_matters_are_run_at_the_end(shared_bench: Callable[..., Bench]) -> None:
    study = shared_bench("noisy", STUDY.replace("seeds: 3", "seeds: 4") + "interactions: auto\n")
    run = study.run()
    assert run.code == 0, run.err
    assert [batch["reason"] for batch in study.events("batch")] == ["interactions: auto: no-b+no-d"]
    said = json.loads(Path(study.storage.local_path(study.paths.effects_json)).read_text())
    kinds = {effect["arm"]: effect["kind"] for effect in said["effects"]}
    assert kinds == {"no-b": "main", "no-d": "main", "no-b+no-d": "interaction"}
    for arm in ("baseline", "no-b", "no-d", "no-b+no-d"):
        assert [row["state"] for row in rows(study) if row["arm"] == arm] == ["done"] * 4
