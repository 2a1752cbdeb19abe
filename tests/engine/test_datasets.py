"""`datasets:` feeds `get_dataset_shard`: disjoint shards that cover all, and each arm gets its own."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable

import pytest
from workbench import Bench

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


@pytest.mark.ray
@pytest.mark.long
def test_two_workers_share_the_rows_of_each_arm_on_one_lane(shared_bench: Callable[..., Bench]) -> None:
    study = shared_bench("sharded", STUDY)
    finished = study.run()
    assert finished.code == 0, finished.err
    for rows in (24, 40):
        for epoch in (1, 2):
            parts = [json.loads((study.signs / f"{rows}-{rank}-{epoch}.json").read_text()) for rank in (0, 1)]
            assert [len(part) for part in parts] == [rows // 2, rows // 2]
            assert sorted(parts[0] + parts[1]) == [10 * row for row in range(rows)]
    assert len({event["lane"] for event in study.events("assign")}) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data says some to itself when imported
def test_a_function_that_gives_no_datasets_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.engine.workers._plain_function import make_shards

    module = types.ModuleType("odd_datasets")
    module.make = lambda config: {"val": config["rows"]}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "odd_datasets", module)
    with pytest.raises(
        TypeError, match=r"gives \{'val': 'int'\}; `datasets` names a function that gives a dict"
    ):
        make_shards("odd_datasets:make", {"rows": 3}, rank=0, world_size=1)
