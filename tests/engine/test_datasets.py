"""`datasets:` feeds `get_dataset_shard`: disjoint shards that cover all, and each arm gets its own."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from workbench import Bench

pytestmark = pytest.mark.ray

STUDY = """\
name: sharded
entrypoint: sharded:train
datasets: sharded:make_datasets
metric: {name: loss, mode: min}
stopping: {rule: none, max: 2, unit: epoch}
baseline: {data: {rows: 24}, dir: '{dir}'}
components:
  more: {swap: {rows: {data.rows: 40}}}
seeds: 1
resources: {workers: 2, cpus_per_worker: 0.5, max_parallel: 1}
"""


def test_two_workers_share_the_rows_of_each_arm_on_one_lane(bench: Callable[..., Bench]) -> None:
    study = bench("sharded", STUDY)
    finished = study.run()
    assert finished.code == 0, finished.err
    for rows in (24, 40):
        for epoch in (1, 2):
            parts = [json.loads((study.signs / f"{rows}-{rank}-{epoch}.json").read_text()) for rank in (0, 1)]
            assert [len(part) for part in parts] == [rows // 2, rows // 2]
            assert sorted(parts[0] + parts[1]) == [10 * row for row in range(rows)]
    assert len({event["lane"] for event in study.events("assign")}) == 1


def test_a_function_that_gives_no_datasets_fails_its_trials_with_words(bench: Callable[..., Bench]) -> None:
    study = bench("sharded", STUDY.replace("workers: 2, cpus_per_worker: 0.5", "workers: 1"))
    study.module.write_text(study.module.read_text().replace("return {", "return {'val': 3} if True else {"))
    finished = study.run()
    assert finished.code == 1
    assert "gives {'val': 'int'}" in study.results()["baseline", 0]["reason"]
