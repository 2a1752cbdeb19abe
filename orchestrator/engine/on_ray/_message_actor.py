"""The broker as an actor of Ray, with what Ray has to be asked: how workers ended, what they still hold.

Ray keeps a placement group until its creator *and* the whole job are gone. So a trial actor that is killed
leaves its lane's resources taken for as long as the driver lives, and the trial that it had would wait for
them for ever. Ray Train has an actor per worker group to clean up; here the message actor does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError

from orchestrator.decide.faults import FaultKind, GroupEnd, RankEnd, why_lost
from orchestrator.engine.broker import Broker
from orchestrator.engine.messages import Attached
from orchestrator.engine.ray_private.deaths import fault_of, lost_nodes
from orchestrator.engine.ray_private.light import PackedHandle

ANSWER_S = 1.0
"""A trial actor that waits for its trial does not answer; one that is dead is known sooner."""
# How long Ray may take to find out that a worker which it cannot reach is dead.
SETTLES_S = 3.0
AGAIN_S = 0.1
GONE_AGAIN_S, GONE_TRIES = 0.2, 25


class MessageActor(Broker):
    """One small async actor per study, between the driver, the trial actors and the workers."""

    def __init__(self) -> None:
        super().__init__(_kill, examine)
        self._groups = Groups()
        self._could_use: int | None = None

    async def told_what_it_could_use(self, groups: int) -> None:
        """Keep for the other studies on the cluster how many worker groups this one could use now."""
        self._could_use = groups

    async def could_use(self) -> int | None:
        """Answer another study; None before it is known."""
        return self._could_use

    async def holds(self, lane_id: str, group: Any, actor: PackedHandle) -> None:
        """Note the placement group that the lane's trial actor has just made."""
        self._groups.hold(lane_id, group, actor)

    async def actor_lost(self) -> None:
        """Take in that a trial actor died: what it held is free for the next one."""
        await self._groups.free_those_of_the_dead()

    async def release(self) -> None:
        """Take in that the study is over, and its Ray may go on: nothing of the study stays there."""
        self._groups.free_all()


class Groups:
    """The newest group of each lane, and the trial actor that made it."""

    def __init__(
        self,
        is_dead: Callable[[Any], Awaitable[bool]] | None = None,
        free: Callable[[Any], None] | None = None,
    ) -> None:
        self._is_dead, self._free = is_dead or _is_dead, free or ray.util.remove_placement_group
        self._held: dict[str, tuple[Any, Any]] = {}

    def hold(self, lane: str, group: Any, actor: Any) -> None:
        """`actor` has made a group for its lane; the one before it, if any, it has removed itself."""
        self._held[lane] = (group, actor)

    async def free_those_of_the_dead(self) -> list[str]:
        """Remove the groups of trial actors that have died; returns their lanes."""
        held = dict(self._held)
        dead = await asyncio.gather(*(self._is_dead(actor) for _, actor in held.values()))
        freed = [lane for lane, gone in zip(held, dead, strict=True) if gone]
        for lane in freed:
            if self._held.pop(lane, None) is not None:
                self._free(held[lane][0])
        return freed

    def free_all(self) -> None:
        """Remove every group: the study is over, and its Ray may go on."""
        while self._held:
            self._free(self._held.popitem()[1][0])


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


async def _fault(handle: PackedHandle) -> FaultKind | None:
    try:
        await _ask(handle)
    except OutOfMemoryError:
        return FaultKind.HOST_MEMORY
    except ActorDiedError as error:
        return fault_of(error)
    except Exception:  # it answers too late, cannot be reached, or is no handle of Ray's
        return None
    return None


async def _is_dead(actor: PackedHandle) -> bool:
    for _ in range(GONE_TRIES):
        try:
            await _ask(actor)
        except ActorDiedError:
            return True
        except ActorUnavailableError:  # often the first word on one that has just died
            await asyncio.sleep(GONE_AGAIN_S)
        except Exception:  # it is busy, or no handle of Ray's
            return False
        else:
            return False
    return False


def _kill(actor: PackedHandle) -> None:
    ray.kill(actor.unpack(), no_restart=True)


async def _ask(actor: PackedHandle) -> None:
    """Return once it answers: that it does is all we ask."""
    await asyncio.wait_for(actor.unpack().__ray_call__.remote(_answer), ANSWER_S)


def _answer(actor: Any) -> None:
    """Answer, inside the actor."""


def _up() -> bool:
    return bool(ray.is_initialized())
