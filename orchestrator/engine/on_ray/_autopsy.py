"""Why a worker group was lost, from what Ray says of its workers and nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError

from orchestrator.decide.faults import FaultKind, GroupEnd, RankEnd, why_lost
from orchestrator.engine.messages import Attached
from orchestrator.engine.ray_private.deaths import fault_of, lost_nodes

ANSWER_S = 1.0
# How long Ray may take to find out that a worker which it cannot reach is dead.
SETTLES_S = 3.0
AGAIN_S = 0.1


async def examine(ranks: Sequence[Attached]) -> GroupEnd:
    """Ask Ray how each rank ended. Never raises: what cannot be found out is `unknown`."""
    deadline = asyncio.get_running_loop().time() + SETTLES_S
    while True:
        faults = await asyncio.gather(*(_fault(who.handle) for who in ranks))
        lost = lost_nodes() if _up() else {}
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
        return fault_of(error)
    except Exception:  # it answers too late, cannot be reached, or is no handle of Ray's
        return None
    return None


def _up() -> bool:
    return bool(ray.is_initialized())


def _answer(worker: Any) -> None:
    """Answer: called in a worker: that it answers is all we ask."""
