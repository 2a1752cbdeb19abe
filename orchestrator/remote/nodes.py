"""Which hosts of the cluster file are live nodes of Ray. Pure functions over what the head has said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.remote.clusterfile import ClusterFile


@dataclass(frozen=True)
class ClusterNode:
    """A live node: its address as Ray knows it, and what it offers."""

    ip: str
    name: str
    head: bool
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Roll:
    """The live nodes counted against the file. `missing` are addresses that it names."""

    up: bool
    said: str
    live: tuple[ClusterNode, ...]
    wanted: int
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every node that the file wants is there."""
        return self.up and len(self.live) >= self.wanted

    @property
    def words(self) -> str:
        """`2 of 3 nodes, 4 GPUs; missing: worker2`."""
        if not self.up:
            return f"Ray is down ({self.said})"
        gpus = sum(node.resources.get("GPU", 0.0) for node in self.live)
        text = f"{len(self.live)} of {self.wanted} nodes, {gpus:g} GPUs"
        if self.complete:
            return text
        return f"{text}; missing: {', '.join(self.missing) or f'{self.wanted - len(self.live)} node(s)'}"


def call_roll(cluster: ClusterFile, said: Mapping[str, Any]) -> Roll:
    """Match what `onhead nodes` says with the addresses of the file.

    A node is a host's when its address is one that the host's name resolves to on the head, or its name is
    the host's. Machines with several interfaces may register under another one: nodes that no host claims
    stand for hosts that have none, so that a wrong alarm needs a node less than the file wants.
    """
    if not said["up"]:
        return Roll(False, str(said.get("said", "")), (), cluster.wanted, cluster.hosts)
    live = tuple(
        ClusterNode(node["ip"], node["name"], node["head"], node["resources"])
        for node in said["nodes"]
        if node["alive"]
    )
    unclaimed, missing = list(live), []
    for host in cluster.hosts:
        mine = _node_of(unclaimed, host, said["addresses"].get(host, ()), is_head=host == cluster.head)
        if mine is None:
            missing.append(host)
        else:
            unclaimed.remove(mine)
    return Roll(True, "", live, cluster.wanted, tuple(missing[len(unclaimed) :]))


def gpus_of(roll: Roll, host: str, addresses: Sequence[str], *, is_head: bool) -> float | None:
    """GPUs that Ray offers on a host; None when no live node is known to be that host."""
    node = _node_of(roll.live, host, addresses, is_head=is_head)
    return None if node is None else float(node.resources.get("GPU", 0.0))


def _node_of(
    nodes: Sequence[ClusterNode], host: str, addresses: Sequence[str], *, is_head: bool
) -> ClusterNode | None:
    for node in nodes:
        if is_head if node.head else node.ip in addresses or host in (node.ip, node.name):
            return node
    return None
