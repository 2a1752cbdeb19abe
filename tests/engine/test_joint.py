"""One outcome of a trial from those of its ranks."""

from __future__ import annotations

import pytest

from orchestrator.decide.states import TrialState
from orchestrator.engine.broker._lane_state import joint_outcome
from orchestrator.engine.messages import Outcome


@pytest.mark.parametrize("state", [state for state in TrialState if state.terminal])
def test_a_trial_may_leave_in_every_final_state(state: TrialState) -> None:
    """Also skipped: a seed that runs ahead leaves at its next report when its arm is resolved without it."""
    ended = Outcome(state, reason="because", length=4, value=0.5)
    assert joint_outcome({0: ended}) == ended
    done = Outcome(TrialState.DONE, length=4, value=0.5)
    assert joint_outcome({0: done, 1: ended}).state is state
