"""Placement groups are freed when the trial actor that made them has died, and only then."""

from __future__ import annotations

import asyncio

from orchestrator.engine.on_ray._message_actor import Groups


def test_the_newest_group_of_each_dead_actor_is_freed_once() -> None:
    dead, freed = set[str](), list[str]()

    async def is_dead(actor: str) -> bool:
        return actor in dead

    groups = Groups(is_dead, freed.append)
    groups.hold("lane-a", "first", "actor a")
    groups.hold("lane-a", "second", "actor a")  # its workers were started again
    groups.hold("lane-b", "other", "actor b")
    assert asyncio.run(groups.free_those_of_the_dead()) == []
    dead.add("actor a")
    assert asyncio.run(groups.free_those_of_the_dead()) == ["lane-a"]
    assert asyncio.run(groups.free_those_of_the_dead()) == []
    assert freed == ["second"]
