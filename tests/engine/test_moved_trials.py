"""Tune moves the last trial from a trial actor that still starts to an idle lane: it ends once, there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from workbench import STUBBORN, Bench

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUDY = STUBBORN + "name: moved\nseeds: [0]\ndeterministic: true\nresources: {max_parallel: 2}\n"

# The second lane's actor comes up when the first one is used again: with its trial already, or without.
SECOND_LANE_IS_LATE = """\
import asyncio
from orchestrator.engine import broker


class LateSecondLane(broker.Broker):
    first_is_used_again = asyncio.Event()

    async def take(self, lane_id, *what, **how):
        new = lane_id not in self._lanes
        if not new:
            self.first_is_used_again.set()
        late = new and bool(self._lanes)
        if late and not {has_its_trial}:
            await self.first_is_used_again.wait()
        await super().take(lane_id, *what, **how)
        if late:
            await self.first_is_used_again.wait()


broker.Broker = LateSecondLane
"""


@pytest.mark.parametrize("has_its_trial", [False, True])
def test_a_trial_whose_lane_is_still_starting_ends_once_on_the_idle_one(
    bench: Callable[[str, str, str], Bench], has_its_trial: bool
) -> None:
    study = bench("stubborn", STUDY, SECOND_LANE_IS_LATE.replace("{has_its_trial}", str(has_its_trial)))
    run = study.run()
    assert run.code == 0, run.err
    assert [row["state"] for row in study.results().values()] == ["done", "done"]
    first, second = study.events("end")
    assert first["lane"] == second["lane"]
    # the late lane's workers may have begun: then it is the next attempt that goes on
    assert second["attempt"] in ((1, 2) if has_its_trial else (1,))
    assert [row["epoch"] for row in study.rows("level=two")] == [1, 2, 3]
