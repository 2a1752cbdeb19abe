"""Ask every host of a cluster what `diagnosis` compares. Works while Ray is down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from orchestrator.errors import ClusterUnavailable
from orchestrator.remote import onhost, sharedstorage
from orchestrator.remote.cluster import Cluster
from orchestrator.remote.clusterfile import unshared
from orchestrator.remote.diagnosis import SAME_EVERYWHERE, Inspection
from orchestrator.remote.nodes import call_roll, gpus_of
from orchestrator.remote.ssh import Host, on_all, why
from orchestrator.remote.token import fingerprint


def inspect_cluster(cluster: Cluster, storage: str | None, program: str | None = None) -> Inspection:
    """Ask every host at the same time; `storage` and `program` are looked at where they are given.

    Raises:
        ClusterUnavailable: a cloud knows no head.
    """
    hosts = cluster.hosts
    needed = needed_packages()

    def facts(host: Host) -> tuple[dict[str, Any], float]:
        asked = {"packages": needed, "storage": storage, "program": program}
        before = time.time()
        answer = host.ask("onhost", "facts", asked)
        return answer, _offset(answer["clock"], before, time.time())

    said = on_all(hosts, facts)
    silent = {host: why(answer) for host, answer in said.items() if isinstance(answer, ClusterUnavailable)}
    reached = {host: answer for host, answer in said.items() if not isinstance(answer, ClusterUnavailable)}
    present = [host for host in hosts if host.address in reached]
    return Inspection(
        head=cluster.head.address,
        facts={host: answer for host, (answer, _) in reached.items()},
        unreachable=silent,
        clock_off_s={host: off for host, (_, off) in reached.items()},
        storage=_storage(present, storage) if storage is not None and present else None,
        ray_gpus=_ray_gpus(cluster, present),
        laptop={
            "packages": {name: onhost.version_of(name) for name in SAME_EVERYWHERE},
            "code": onhost.code_digest("orchestrator"),
            "token": fingerprint(cluster.file.token),
        },
        needed=needed,
    )


def _offset(clock: float, before: float, after: float) -> float:
    """How far a clock is off, from one question and its answer: 0 when it lies between the two."""
    return clock - before if clock < before else clock - after if clock > after else 0.0


def _storage(hosts: list[Host], storage: str) -> Mapping[str, str | None]:
    problem = unshared(storage)
    if problem is not None:
        return {host.address: f"{storage}: {problem}" for host in hosts}
    try:
        return sharedstorage.look(hosts, storage)
    except ClusterUnavailable as error:
        return {hosts[0].address: str(error)}


def _ray_gpus(cluster: Cluster, present: list[Host]) -> dict[str, float | None]:
    try:
        said = cluster.ask_head("nodes", hosts=[host.address for host in present])
    except ClusterUnavailable:
        return {}
    roll, known, head = call_roll(cluster.file, said), said["addresses"], cluster.head.address
    names = [host.address for host in present]
    return {name: gpus_of(roll, name, known.get(name, ()), is_head=name == head) for name in names}


def needed_packages() -> list[str]:
    """Names of what this project needs to run, without extras."""
    from packaging.requirements import Requirement

    try:
        lines = requires("orchestrator") or []
    except PackageNotFoundError:
        return list(SAME_EVERYWHERE)
    found = [Requirement(line) for line in lines]
    return [item.name for item in found if item.marker is None or item.marker.evaluate({"extra": ""})]
