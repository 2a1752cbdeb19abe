"""What the cluster offers, how many worker groups fit, and what a study that cannot go on waits for."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.study.spec import ResourcesSpec

ANY = ""
DATASETS_CPUS = 1.0
"""CPUs of every node that stay free for the tasks of Ray Data in a study with `datasets`."""


@dataclass(frozen=True)
class Node:
    """One node of the cluster. `accelerator`: Ray's name for its GPU type, empty without one."""

    id: str
    address: str
    cpus: float
    gpus: float
    alive: bool = True
    accelerator: str = ANY


@dataclass(frozen=True)
class Capacity:
    """What the cluster offers now."""

    cpus: float
    gpus: float
    nodes: int
    slots: int  # workers of the study's size that fit, node by node


@dataclass(frozen=True)
class ClusterPart:
    """What a study should have of a cluster beside `others`, by name: so many worker groups."""

    groups: int
    others: tuple[str, ...]


def capacity(
    nodes: Sequence[Node], resources: ResourcesSpec, gpus: float, shunned: Collection[str] = ()
) -> Capacity:
    """Count the workers of so many `gpus` that fit on the nodes that are alive and not `shunned`."""
    alive = [node for node in nodes if node.alive and node.id not in shunned]
    return Capacity(
        cpus=sum(node.cpus for node in alive),
        gpus=sum(node.gpus for node in alive),
        nodes=len(alive),
        slots=sum(slots(node, resources, gpus) for node in alive),
    )


def slots(node: Node, resources: ResourcesSpec, gpus: float) -> int:
    """How many workers fit on this node."""
    if resources.accelerator_type and node.accelerator != resources.accelerator_type:
        return 0
    limits = [node.cpus / resources.cpus_per_worker] if resources.cpus_per_worker else []
    limits += [node.gpus / gpus] if gpus else []
    return math.floor(min(limits) + 1e-9) if limits else 0


def lanes(resources: ResourcesSpec, offered: Capacity) -> int:
    """How many worker groups fit: capacity over the group's size, at most `max_parallel`."""
    fit = offered.slots // resources.workers
    return fit if resources.max_parallel == "auto" else min(fit, resources.max_parallel)


def group_in_words(resources: ResourcesSpec, gpus: float) -> str:
    """Return the size of one worker group."""
    kind = f" of type {resources.accelerator_type}" if resources.accelerator_type else ""
    return f"{resources.workers} x ({resources.cpus_per_worker:g} CPUs, {gpus:g} GPUs{kind})"


def waits_for(resources: ResourcesSpec, gpus: float, offered: Capacity) -> str | None:
    """Return what is missing before any worker group fits; None when one does."""
    if lanes(resources, offered) >= 1:
        return None
    return (
        f"waiting for capacity: one worker group needs {group_in_words(resources, gpus)}, and "
        f"{offered.nodes} node(s) offer {offered.cpus:g} CPUs and {offered.gpus:g} GPUs in all"
    )


def bundles(resources: ResourcesSpec, gpus: float, groups: int) -> list[dict[str, float]]:
    """Return resources of the workers of `groups` worker groups, at most `max_parallel`, one bundle each."""
    groups = groups if resources.max_parallel == "auto" else min(groups, resources.max_parallel)
    one = {"CPU": float(resources.cpus_per_worker)} | ({"GPU": gpus} if gpus else {})
    return [dict(one) for _ in range(groups * resources.workers)]
