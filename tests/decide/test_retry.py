from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.retry import retry
from orchestrator.decide.states import Cause


@pytest.mark.parametrize("cause", [Cause.USER, Cause.OOM, Cause.SHORT])
def test_outcomes_of_the_arm_are_not_tried_again(cause: Cause) -> None:
    assert not retry(cause, 1, 3).again
    assert not retry(cause, 1, 3, preempted=True).again


@pytest.mark.parametrize("cause", [Cause.HANG, Cause.INFRA])
def test_infrastructure_is_tried_again_up_to_the_limit(cause: Cause) -> None:
    assert [retry(cause, attempt, 3).again for attempt in (1, 2, 3, 4)] == [True, True, True, False]
    assert not retry(cause, 1, 0).again
    assert "2 of 3" in retry(cause, 2, 3).reason


@given(st.integers(1, 10_000), st.integers(0, 5))
def test_preemption_never_counts(attempts: int, limit: int) -> None:
    assert retry(Cause.INFRA, attempts, limit, preempted=True).again
