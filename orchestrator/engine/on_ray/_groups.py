"""Placement groups of lanes. Ray keeps a group until its creator *and* the whole job are gone.

So a trial actor that is killed leaves its lane's resources taken for as long as the driver lives, and the
trial that it had would wait for them for ever. Ray Train has an actor per worker group to clean up; here the
message actor does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError

ANSWER_S = 1.0
"""A trial actor that waits for its trial does not answer; one that is dead is known sooner."""
AGAIN_S, TRIES = 0.2, 25


class Groups:
    """The newest group of each lane, and the trial actor that made it.

    Args:
        is_dead: whether an actor is, by its handle.
        free: removes a placement group.
    """

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


async def _is_dead(actor: Any) -> bool:
    for _ in range(TRIES):
        try:
            await asyncio.wait_for(actor.__ray_call__.remote(_answer), ANSWER_S)
        except ActorDiedError:
            return True
        except ActorUnavailableError:  # often the first word on one that has just died
            await asyncio.sleep(AGAIN_S)
        except Exception:  # it is busy, or no handle of Ray's
            return False
        else:
            return False
    return False


def _answer(actor: Any) -> None:
    """Answer: called in a trial actor: that it answers is all we ask."""
