"""How a worker or a node ended, in Ray's own words and numbers."""

from __future__ import annotations

import ray
from ray.core.generated.common_pb2 import NodeDeathInfo
from ray.exceptions import ActorDiedError

from orchestrator.decide.faults import FaultKind

# A test ends workers in these ways and fails when the words change.
KILLED_BY_US = "killed by `ray.kill`"
OUT_OF_MEMORY = ("NODE_OUT_OF_MEMORY", "memory pressure", "low on memory")
NODE_DIED = "node has died"


def fault_of(error: ActorDiedError) -> FaultKind | None:
    """Name the fault that ended an actor; None: we ended it ourselves."""
    words = str(error)
    if error.preempted:
        return FaultKind.PREEMPTED
    if any(mark in words for mark in OUT_OF_MEMORY):
        return FaultKind.HOST_MEMORY
    if KILLED_BY_US in words:
        return None
    return FaultKind.NODE_LOST if NODE_DIED in words else FaultKind.WORKER_KILLED


def lost_nodes() -> dict[str, FaultKind]:
    """List the nodes that the cluster has lost, by their id: preempted, or lost in another way."""
    taken = NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
    return {
        node["NodeID"]: FaultKind.PREEMPTED if node.get("DeathReason") == taken else FaultKind.NODE_LOST
        for node in ray.nodes()
        if not node["Alive"]
    }
