from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.asha import Halving
from orchestrator.decide.states import TrialState
from orchestrator.simulate.asha import Ending, Point, SimulatedCurve, replay

RULE = Halving((1, 3), 3)


def curve(
    name: str, scores: tuple[float, float], pace: float = 1.0, protected: bool = False
) -> SimulatedCurve:
    points = [Point(rung, rung, rung * pace, score) for rung, score in zip((1, 3), scores, strict=True)]
    return SimulatedCurve(name, name, points, 9, 9 * pace, protected)


def test_by_hand_on_one_lane() -> None:
    runs = [curve("a", (3, 3)), curve("b", (2, 9)), curve("c", (4, 2)), curve("d", (0, 0))]
    assert replay(runs, RULE, 1) == [
        Ending(2, 9, TrialState.DONE),  # the first to arrive continues
        Ending(1, 1, TrialState.STOPPED),  # second of two, one continues
        Ending(2, 3, TrialState.STOPPED),  # best of three at rung 1, second of two at rung 3
        Ending(1, 1, TrialState.STOPPED),
    ]


def test_the_faster_run_is_judged_first() -> None:
    slow, fast = curve("slow", (5, 5), pace=2), curve("fast", (1, 1))
    assert [end.state for end in replay([slow, fast], RULE, 1)] == [TrialState.DONE, TrialState.STOPPED]
    assert [end.state for end in replay([slow, fast], RULE, 2)] == [TrialState.DONE, TrialState.DONE]


def test_the_reference_may_be_protected() -> None:
    runs = [curve("a", (3, 3)), curve("reference", (0, 0), protected=True)]
    assert replay(runs, RULE, 2)[1] == Ending(2, 9, TrialState.DONE)


def test_a_score_that_is_no_number_has_diverged() -> None:
    assert replay([curve("a", (1, float("nan")))], RULE, 1) == [Ending(2, 3, TrialState.DIVERGED)]


def test_without_lanes_nothing_can_run() -> None:
    with pytest.raises(ValueError, match="at least one lane"):
        replay([], RULE, 0)


runs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from([0.5, 1, 2])), max_size=12)


@given(runs, st.integers(1, 4))
def test_every_run_ends_at_a_rung_or_at_its_end(made, lanes: int) -> None:  # type: ignore[no-untyped-def]
    curves = [curve(str(i), (a, b), pace) for i, (a, b, pace) in enumerate(made)]
    endings = replay(curves, RULE, lanes)
    assert len(endings) == len(curves)
    for end in endings:
        assert (end.reports, end.length, end.state) in {
            (1, 1, TrialState.STOPPED),
            (2, 3, TrialState.STOPPED),
            (2, 9, TrialState.DONE),
        }
    if curves:  # the rule never stops everything: who arrives first at a rung goes on
        assert TrialState.DONE in {end.state for end in endings}


@given(runs, st.integers(1, 12))
def test_lanes_do_not_matter_where_all_run_at_the_same_speed(made, lanes: int) -> None:  # type: ignore[no-untyped-def]
    curves = [curve(str(i), (a, b)) for i, (a, b, _) in enumerate(made)]
    assert replay(curves, RULE, lanes) == replay(curves, RULE, 1)
