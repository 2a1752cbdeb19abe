from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.pace import Pace

milliseconds = st.integers(1, 100)


@given(milliseconds, milliseconds, st.integers(0, 3))
def test_auto_stays_within_its_share_and_uses_it(step_ms: int, val_ms: int, slow_start: int) -> None:
    pace = Pace("auto")
    first_ms = val_ms * (1 + slow_start)
    count = 0
    for step in range(1, 2_001):
        pace.trained(step_ms / 1000)
        if pace.due(step):
            pace.validated((val_ms if count else first_ms) / 1000)
            count += 1
        # Only the first one can cost more than was expected of it.
        assert pace.val_s <= pace.share * pace.train_s + (first_ms / 1000 if count == 1 else 1e-9)
    # All of it is used, unless a validation batch after every step costs less.
    assert count > 1900 or pace.share * pace.train_s - pace.val_s <= pace.latest_s + step_ms / 1000 + 1e-9


def test_fixed_and_never() -> None:
    assert [step for step in range(1, 10) if Pace(3).due(step)] == [3, 6, 9]
    assert not any(Pace(0).due(step) for step in range(1, 10))
    assert not Pace("auto").due(1)
