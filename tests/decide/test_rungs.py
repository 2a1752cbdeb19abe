from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.rungs import Passed, curve_rungs, highest_rung, rungs


def test_rungs_stay_below_the_maximum() -> None:
    assert rungs(2, 3, 20) == (2, 6, 18)
    assert rungs(1, 2, 8) == (1, 2, 4)
    assert rungs(5, 3, 5) == ()
    assert rungs(0.5, 2, 3) == (0.5, 1, 2)
    assert all(isinstance(rung, int) for rung in rungs(2, 3, 20))


def test_the_last_five_rungs_are_kept_of_every_trial() -> None:
    assert curve_rungs(1, 3, 20) == (1, 3, 9)
    assert curve_rungs(1, 2, 100) == (4, 8, 16, 32, 64)
    assert curve_rungs(5, 3, 5) == curve_rungs(9, 3, 5) == ()


def test_a_curve_has_the_value_of_the_report_that_passed_a_rung() -> None:
    passed = Passed((1, 3, 9))
    for length, value in ((4, 0.4), (5, 0.5), (10, None), (11, 1.1)):
        passed.take(length, value)
    assert passed.values == {1: None, 3: 0.4, 9: 1.1}


@pytest.mark.parametrize(("grace", "reduction"), [(0, 3), (-1, 3), (1, 1), (1, 0.5), (float("nan"), 3)])
def test_endless_ladders_are_refused(grace: float, reduction: float) -> None:
    with pytest.raises(ValueError, match="grace > 0"):
        rungs(grace, reduction, 10)


def test_sparse_reports_count_at_the_highest_rung() -> None:
    ladder = rungs(2, 3, 20)
    assert highest_rung(ladder, 1) is None
    assert highest_rung(ladder, 2) == 2
    assert highest_rung(ladder, 7) == 6
    assert highest_rung(ladder, 7, above=6) is None
    assert highest_rung(ladder, 19, above=2) == 18


@given(st.integers(1, 10), st.integers(2, 5), st.integers(1, 500), st.lists(st.integers(1, 50), max_size=40))
def test_a_rung_is_met_at_most_once(grace: int, reduction: int, maximum: int, gaps: list[int]) -> None:
    ladder, above, length, met = rungs(grace, reduction, maximum), None, 0, []
    for gap in gaps:
        length += gap
        rung = highest_rung(ladder, length, above)
        if rung is not None:
            met.append(rung)
            above = rung
    assert met == sorted(set(met))
    assert set(met) <= set(ladder)
    assert all(rung < maximum for rung in ladder)
