"""Nodes that are bad, that go, and that come back: real nodes of a Ray cluster on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from workbench import Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = """\
name: placed
entrypoint: placed:train
metric: {name: loss, mode: min}
baseline: {level: 1.0, dir: '{dir}'}
components:
  level: {swap: {two: {level: 2.0}, three: {level: 3.0}}}
seeds: 3
stopping: {rule: none, max: 3, unit: epoch}
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A head without CPUs for trials."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def cluster(head: Any) -> Iterator[Any]:
    """The head, to which a test adds nodes; they are gone after it."""
    yield head
    for node in list(head.worker_nodes):
        head.remove_node(node)


def curves(study: Bench) -> dict[tuple[str, int], Any]:
    return {(arm, seed): study.curve(arm, seed) for arm, seed in study.results()}


def test_a_bad_node_is_set_aside_and_no_cell_is_lost(
    shared_bench: Callable[[str, str], Bench], cluster: Any
) -> None:
    study = shared_bench("placed", STUDY)
    bad, good = (cluster.add_node(num_cpus=1).node_id for _ in range(2))
    (study.signs / "bad").write_text(bad)
    hold = study.signs / "hold"
    hold.touch()  # or the good node is done with all before, and Ray has the fresh worker there by chance
    with study.running("--address", cluster.address) as run:
        run.until(lambda: "is set aside" in run.err, "the second death on one node tells")
        hold.unlink()
        ended = run.end()
    assert ended.code == 0, ended.err
    assert {row["state"] for row in study.results().values()} == {"done"}
    failures = study.events("failure")
    killed = [event for event in failures if event["fault"] == "worker killed"]
    assert len(killed) == 2
    assert {event["node"] for event in killed} == {killed[0]["node"]}
    assert bad[:8] in killed[0]["node"]
    (note,) = [event["text"] for event in study.events("note") if "is set aside" in event["text"]]
    assert bad[:8] in note
    assert good[:8] not in note
    assert note in ended.err
    # after that nothing ran there any more
    told = next(i for i, event in enumerate(study.events()) if event.get("text") == note)
    assert not [e for e in study.events()[told:] if e["event"] == "failure" and e["fault"] == "worker killed"]


def test_a_study_waits_for_a_node_that_was_lost(
    shared_bench: Callable[[str, str], Bench], cluster: Any
) -> None:
    study = shared_bench("placed", STUDY)
    node = cluster.add_node(num_cpus=1)
    hold = study.signs / "hold"
    with study.running("--address", cluster.address) as run:
        run.until(lambda: len(study.events("checkpoint")) >= 2, "the first trial is under way")
        hold.touch()
        cluster.remove_node(node, allow_graceful=False)
        run.until(lambda: "waiting for capacity: one worker group needs 1 x (1 CPUs" in run.err, "it waits")
        assert "is lost" in run.err
        hold.unlink()
        cluster.add_node(num_cpus=1)
        ended = run.end()
    assert ended.code == 0, ended.err
    assert "there is capacity again" in ended.err
    assert {row["state"] for row in study.results().values()} == {"done"}
    assert {event["fault"] for event in study.events("failure")} <= {"node lost"}
    undisturbed = shared_bench("placed", STUDY.replace("placed\n", "undisturbed\n", 1))
    assert undisturbed.run().code == 0
    assert curves(undisturbed) == curves(study)


@pytest.mark.parametrize(
    "others",
    ["{two: {level: 2.0}}", pytest.param("{two: {level: 2.0}, three: {level: 3.0}}", marks=pytest.mark.long)],
)
def test_an_idle_lane_gives_its_place_to_a_trial_that_lost_its_own(
    shared_bench: Callable[[str, str], Bench], cluster: Any, others: str
) -> None:
    """Two lanes, and room for one: whether a third cell waits or not, the lane that is idle must not stay."""
    two = STUDY.replace("{two: {level: 2.0}, three: {level: 3.0}}", others).replace("seeds: 3", "seeds: 1")
    study = shared_bench("placed", two)
    lost, kept = (cluster.add_node(num_cpus=1) for _ in range(2))
    hold = study.signs / "hold"
    hold.touch()
    with study.running("--address", cluster.address) as run:
        for node in (lost, kept):
            run.until(lambda on=node.node_id: any(study.signs.glob(f"*-{on}")), "a trial runs on each node")
        cluster.remove_node(lost, allow_graceful=False)
        run.until(lambda: "is lost" in run.err, "the driver has seen it")
        hold.unlink()
        ended = run.end()
    assert ended.code == 0, ended.err
    assert {row["state"] for row in study.results().values()} == {"done"}
    assert {event["fault"] for event in study.events("failure")} == {"node lost"}


def test_a_pair_on_two_types_of_gpu_is_told(shared_bench: Callable[[str, str], Bench], cluster: Any) -> None:
    study = shared_bench("placed", STUDY.replace(", three: {level: 3.0}", "").replace("seeds: 3", "seeds: 1"))
    nodes = [
        cluster.add_node(num_cpus=1, num_gpus=1, labels={"ray.io/accelerator-type": name})
        for name in ("A100", "H100")
    ]
    hold = study.signs / "hold"
    hold.touch()
    with study.running("--address", cluster.address) as run:
        for node in nodes:
            run.until(lambda on=node.node_id: any(study.signs.glob(f"*-{on}")), "a trial runs on each node")
        hold.unlink()
        ended = run.end()
    assert ended.code == 0, ended.err
    assert "1 of 1 pairs were run on different GPU types (A100 / H100; seeds 0)" in " ".join(
        ended.out.split()
    )
    assert sorted(row["device"] for row in study.results().values()) == ["A100", "H100"]
    assert sorted(event["devices"] for event in study.events("start")) == [["A100"], ["H100"]]
