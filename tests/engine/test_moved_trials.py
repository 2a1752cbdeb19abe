"""Tune moves the last trial from a trial actor that still starts to an idle lane: it ends once, there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from workbench import STUBBORN, Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

STUDY = STUBBORN + "name: moved\nseeds: [0]\ndeterministic: true\nresources: {max_parallel: 2}\n"

# The second lane's actor comes up when the first one is used again.
SECOND_LANE_IS_LATE = """\
import asyncio
from orchestrator.engine.on_ray import _message_actor as message_actor, _tune_runtime as tune_runtime


class LateSecondLane(message_actor.MessageActor):
    first_is_used_again = asyncio.Event()

    async def open_lane(self, lane_id, world_size):
        if self._lanes:
            await self.first_is_used_again.wait()
        await super().open_lane(lane_id, world_size)

    async def take(self, lane_id, assignment):
        if self._lanes[lane_id].serial:
            self.first_is_used_again.set()
        await super().take(lane_id, assignment)


tune_runtime.MessageActor = LateSecondLane
"""


def test_a_trial_whose_lane_is_still_starting_ends_once_on_the_idle_one(
    bench: Callable[[str, str, str], Bench],
) -> None:
    study = bench("stubborn", STUDY, SECOND_LANE_IS_LATE)
    run = study.run()
    assert run.code == 0, run.err
    assert [row["state"] for row in study.results().values()] == ["done", "done"]
    first, second = study.events("end")
    assert first["lane"] == second["lane"]
    assert (first["attempt"], second["attempt"]) == (1, 1)
    assert [row["epoch"] for row in study.rows("level=two")] == [1, 2, 3]
