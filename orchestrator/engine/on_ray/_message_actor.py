"""The broker as an actor of Ray, with what Ray has to be asked: how workers ended, what they still hold."""

from __future__ import annotations

from typing import Any

import ray

from orchestrator.engine.broker import Broker
from orchestrator.engine.on_ray._autopsy import examine
from orchestrator.engine.on_ray._groups import Groups


class MessageActor(Broker):
    """One small async actor per study, between the driver, the trial actors and the workers."""

    def __init__(self) -> None:
        super().__init__(_kill, examine)
        self._groups = Groups()

    async def holds(self, lane_id: str, group: Any, actor: Any) -> None:
        """Note the placement group that the lane's trial actor has just made."""
        self._groups.hold(lane_id, group, actor)

    async def actor_lost(self) -> None:
        """Take in that a trial actor died: what it held is free for the next one."""
        await self._groups.free_those_of_the_dead()

    async def release(self) -> None:
        """Take in that the study is over, and its Ray may go on: nothing of the study stays there."""
        self._groups.free_all()


def _kill(handle: Any) -> None:
    ray.kill(handle, no_restart=True)
