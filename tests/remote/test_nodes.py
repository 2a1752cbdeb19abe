"""Live nodes against the file."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.clusterfile import ClusterFile
from orchestrator.remote.nodes import call_roll, gpus_of

ADDRESSES = {"head": ["10.0.0.1"], "worker1": ["10.0.0.2"], "worker2": ["10.0.0.3"]}


def node(
    ip: str, *, head: bool = False, alive: bool = True, name: str = "", gpus: float = 0
) -> dict[str, Any]:
    return {"ip": ip, "name": name or ip, "head": head, "alive": alive, "resources": {"GPU": gpus}}


def said(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"up": True, "nodes": list(nodes), "addresses": ADDRESSES}


HEAD, FIRST, SECOND = node("10.0.0.1", head=True), node("10.0.0.2", gpus=2), node("10.0.0.3")


def test_all_there(cluster: ClusterFile) -> None:
    roll = call_roll(cluster, said(SECOND, HEAD, FIRST))
    assert roll.complete
    assert roll.missing == ()
    assert roll.words == "3 of 3 nodes, 2 GPUs"
    assert gpus_of(roll, "worker1", ADDRESSES["worker1"], is_head=False) == 2
    assert gpus_of(roll, "head", (), is_head=True) == 0


def test_who_is_missing_is_named(cluster: ClusterFile) -> None:
    roll = call_roll(cluster, said(HEAD, FIRST))
    assert not roll.complete
    assert roll.missing == ("worker2",)
    assert roll.words == "2 of 3 nodes, 2 GPUs; missing: worker2"
    assert gpus_of(roll, "worker2", ADDRESSES["worker2"], is_head=False) is None


def test_the_dead_do_not_count(cluster: ClusterFile) -> None:
    assert call_roll(cluster, said(HEAD, FIRST, node("10.0.0.3", alive=False))).missing == ("worker2",)


def test_a_node_under_another_of_its_addresses_is_no_false_alarm(cluster: ClusterFile) -> None:
    roll = call_roll(cluster, said(HEAD, FIRST, node("172.16.0.9")))
    assert roll.complete
    assert roll.missing == ()


def test_down(cluster: ClusterFile) -> None:
    roll = call_roll(cluster, {"up": False, "said": "nothing listens", "addresses": ADDRESSES})
    assert not roll.complete
    assert roll.missing == ("head", "worker1", "worker2")
    assert roll.words == "Ray is down (nothing listens)"


@given(st.sets(st.sampled_from(["head", "worker1", "worker2"])))
def test_present_and_missing_make_the_file(alive: set[str]) -> None:
    from orchestrator.remote.clusterfile import Auth
    from orchestrator.remote.startcommands import RayStart

    start = RayStart("", "")
    from pathlib import Path

    file = ClusterFile(
        Path("c.yaml"),
        Path("/"),
        "c",
        "local",
        Auth("u"),
        "head",
        ("worker1", "worker2"),
        3,
        start,
        start,
        Path("t"),
        True,
    )
    nodes = [node(ADDRESSES[host][0], head=host == "head") for host in sorted(alive)]
    roll = call_roll(file, said(*nodes))
    assert set(roll.missing) == set(file.hosts) - alive
    assert roll.complete == (len(alive) == 3)
