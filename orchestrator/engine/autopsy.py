"""Why a worker group was lost, from what Ray says of its workers and nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError

from orchestrator.decide.faults import FaultKind, GroupEnd, RankEnd, why_lost
from orchestrator.engine.messages import Attached

ANSWER_S = 1.0
# How long Ray may take to find out that a worker which it cannot reach is dead.
SETTLES_S = 3.0
AGAIN_S = 0.1
# Ray's own words for how an actor ended; a test ends workers in these ways and fails when they change.
KILLED_BY_US = "killed by `ray.kill`"
OUT_OF_MEMORY = ("NODE_OUT_OF_MEMORY", "memory pressure", "low on memory")


async def examine(ranks: Sequence[Attached]) -> GroupEnd:
    """Ask Ray how each rank ended. Never raises: what cannot be found out is `unknown`."""
    deadline = asyncio.get_running_loop().time() + SETTLES_S
    while True:
        faults = await asyncio.gather(*(_fault(who.handle) for who in ranks))
        lost = _lost_nodes()
        ends = [
            RankEnd(who.rank, who.node, _of_node(fault, lost.get(who.node)))
            for who, fault in zip(ranks, faults, strict=True)
        ]
        end = why_lost(ends)
        # the first word on a worker that cannot be reached is often "unavailable"
        if end.fault is not FaultKind.UNKNOWN or asyncio.get_running_loop().time() > deadline or not _up():
            return end
        await asyncio.sleep(AGAIN_S)


def _of_node(fault: FaultKind | None, node: FaultKind | None) -> FaultKind | None:
    return fault if node is None or fault is FaultKind.PREEMPTED else node


async def _fault(handle: Any) -> FaultKind | None:
    try:
        await asyncio.wait_for(handle.__ray_call__.remote(_answer), ANSWER_S)
    except OutOfMemoryError:
        return FaultKind.HOST_MEMORY
    except ActorDiedError as error:
        return _of_words(str(error), preempted=error.preempted)
    except Exception:  # it answers too late, cannot be reached, or is no handle of Ray's
        return None
    return None


def _of_words(words: str, *, preempted: bool) -> FaultKind | None:
    if preempted:
        return FaultKind.PREEMPTED
    if any(mark in words for mark in OUT_OF_MEMORY):
        return FaultKind.HOST_MEMORY
    if KILLED_BY_US in words:
        return None
    return FaultKind.NODE_LOST if "node has died" in words else FaultKind.WORKER_KILLED


def _up() -> bool:
    return bool(ray.is_initialized())


def _lost_nodes() -> dict[str, FaultKind]:
    if not _up():
        return {}
    from ray.core.generated.common_pb2 import NodeDeathInfo

    taken = NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
    return {
        node["NodeID"]: FaultKind.PREEMPTED if node.get("DeathReason") == taken else FaultKind.NODE_LOST
        for node in ray.nodes()
        if not node["Alive"]
    }


def _answer(worker: Any) -> None:
    """Called in a worker: that it answers is all we ask."""
