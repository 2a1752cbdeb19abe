"""A running cluster by its address: one worker group over two nodes of one CPU each."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from workbench import Bench

from orchestrator.engine.on_ray.cluster import connected

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUDY = """\
name: spread
entrypoint: pair:train
metric: {name: val/accuracy, mode: max}
baseline:
  fault: none
  data: {batch_size: 32}
  model: {width: 32, dropout: 0.2}
  optim: {lr: 3e-3, weight_decay: 0.01}
components:
  dropout: {without: {model.dropout: 0.0}}
seeds: [0]
stopping: {rule: none, max: 2, unit: epoch}
resources: {workers: 2}
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A head without CPUs for trials, and two nodes with one each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def study(shared_bench: Callable[[str, str], Bench]) -> Bench:
    return shared_bench("pair", STUDY)


@pytest.mark.long
def test_a_group_over_two_nodes_trains_as_on_one(study: Bench, address: str) -> None:
    on_cluster = study.run("--address", address)
    assert on_cluster.code == 0, on_cluster.err
    assert "1 slot" in on_cluster.err
    curves = {arm: study.curve(arm) for arm in ("baseline", "no-dropout")}
    assert len(curves["baseline"]) == 2

    here = study.run("--fresh")
    assert here.code == 0, here.err
    assert {arm: study.curve(arm) for arm in curves} == curves


@pytest.mark.long
def test_a_group_that_fits_nowhere_waits_for_more_nodes_and_says_so(study: Bench, address: str) -> None:
    with study.running("--address", address, "--fresh", "resources.workers=3") as run:
        waits = (
            "waiting for capacity: one worker group needs 3 x (1 CPUs, 0 GPUs), and 3 node(s) offer 2 CPUs"
        )
        run.until(lambda: waits in run.err, "the study says what it waits for")
        run.signal(signal.SIGINT)
        assert run.end().code == 130


def test_no_cluster_at_the_address(study: Bench) -> None:
    ended = study.run("--address", "127.0.0.1:1", "--fresh")
    assert ended.code == 4
    assert "no Ray cluster answers at 127.0.0.1:1" in ended.err


def test_no_placement_group_stays_on_a_cluster_that_goes_on(address: str) -> None:
    """Whoever asked for it: a trial actor may have, while it was ended."""
    import ray
    from ray.util import placement_group, placement_group_table

    with connected(address):
        group = placement_group([{"CPU": 1}], lifetime="detached")
        ray.get(group.ready())
    with connected(address):
        assert placement_group_table()[group.id.hex()]["state"] == "REMOVED"
        assert ray.available_resources()["CPU"] == 2.0
