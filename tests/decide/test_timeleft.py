"""How long a study still takes: a range that holds what comes, and nothing while nobody can know."""

from __future__ import annotations

import heapq
import math
from dataclasses import astuple, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.states import TrialState
from orchestrator.decide.timeleft import TimeLeft, Timings, reach, time_left
from orchestrator.reporting.plain import between


@dataclass(frozen=True)
class Trial:
    state: TrialState
    length: float | None = None
    wall_s: float = 0.0
    gpu_s: float = 0.0


def left_of(
    trials: list[Trial], *, lanes: int, waiting: int, shortest: float | None = None
) -> TimeLeft | None:
    """Of trials of eight epochs."""
    running = [8.0 - reach(one, 8.0) for one in trials if one.state is TrialState.RUNNING]
    took = Timings.of(trials, 8.0)
    return time_left(took, running, 8.0, lanes=lanes, waiting=waiting, shortest=shortest)


def done(seconds: float, length: float = 8.0) -> Trial:
    return Trial(TrialState.DONE, length, seconds)


def test_nobody_knows_before_half_a_trial_was_measured() -> None:
    def left(*lengths: float) -> object:
        trials = [Trial(TrialState.RUNNING, length, length) for length in lengths]
        return left_of(trials, lanes=2, waiting=6)

    assert left() is None
    assert left(1.0, 2.5) is None
    assert left(1.0, 3.0) is not None
    assert left_of([Trial(TrialState.RUNNING, 4.0, 0.0)], lanes=1, waiting=1) is None
    assert left_of([Trial(TrialState.FAILED, 8.0, 9.0)], lanes=1, waiting=1) is None


def test_trials_that_take_the_same_leave_little_open() -> None:
    some = left_of([done(80.0)] * 100, lanes=2, waiting=10)
    assert some is not None
    assert some.low_s < 400.0 < some.high_s < 1.3 * (400.0 + 40.0)  # the last one may run alone
    few = left_of([done(80.0)] * 2, lanes=2, waiting=10)
    assert few is not None
    assert (few.low_s, -few.high_s) < (some.low_s, -some.high_s)


def test_what_a_rule_may_spare_is_in_the_range() -> None:
    ended = [done(80.0), *[Trial(TrialState.STOPPED, 1.0, 10.0)] * 3, Trial(TrialState.SKIPPED)]
    grid = left_of(ended[:1], lanes=1, waiting=10)
    rule = left_of(ended, lanes=1, waiting=10, shortest=1.0)
    nothing_yet = left_of(ended[:1], lanes=1, waiting=10, shortest=0.0)
    assert grid is not None
    assert rule is not None
    assert nothing_yet is not None
    assert rule.low_s < grid.low_s
    assert rule.high_s >= 800.0
    assert nothing_yet.low_s == pytest.approx(grid.low_s / 2)


def test_the_last_ones_have_no_lanes_to_share() -> None:
    one = left_of([*[done(80.0)] * 50, Trial(TrialState.RUNNING, 4.0, 40.0)], lanes=16, waiting=0)
    assert one is not None
    assert one.low_s < 40.0 < one.high_s < 60.0
    over = left_of([done(80.0)], lanes=4, waiting=0)
    assert over is not None
    assert (over.low_s, over.high_s) == (0.0, 0.0)


def finish(lanes: int, lengths: list[float]) -> float:
    """When the last one ends, each taken by the lane that is free first."""
    free = [0.0] * lanes
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


@given(
    st.integers(1, 8),
    st.floats(0.01, 1e4),
    st.lists(st.floats(0.0, 8.0), max_size=8),
    st.integers(0, 40),
    st.floats(0.0, 1.0),
    st.randoms(use_true_random=False),
)
def test_the_range_holds_the_end(lanes, unit_s, reached, waiting, share, random) -> None:
    """Of trials that take what others took: none of those left is stopped, or all are as those before."""
    reached = reached[:lanes]
    running = [Trial(TrialState.RUNNING, length, length * unit_s) for length in reached]
    early = [Trial(TrialState.STOPPED, 8.0 * share, 8.0 * share * unit_s)] * 3
    found = left_of([done(8 * unit_s), *early, *running], lanes=lanes, waiting=waiting, shortest=8.0 * share)
    assert found is not None
    left = [(8.0 - length) * unit_s for length in reached]
    whole = [*left, *[8.0 * unit_s] * waiting]
    random.shuffle(whole)
    assert 0.0 <= found.low_s <= finish(lanes, whole) * (1 + 1e-9)
    assert found.low_s <= found.high_s
    assert finish(lanes, whole) <= found.high_s * (1 + 1e-9)
    if not reached:
        kept = 8.0 * unit_s * (1 + 3 * share + share) / 5
        assert found.low_s <= finish(lanes, [kept] * waiting) * (1 + 1e-9)


@given(
    st.lists(
        st.builds(
            Trial,
            st.sampled_from(TrialState),
            st.none() | st.floats(),
            st.floats(),
        ),
        max_size=8,
    ),
    st.integers(-1, 1000),
    st.integers(0, 10_000),
    st.none() | st.floats(0, 9),
)
def test_whatever_a_record_says(trials, lanes, waiting, shortest) -> None:
    found = left_of(trials, lanes=lanes, waiting=waiting, shortest=shortest)
    pace = Timings.of(trials, 8.0).pace(8.0)
    assert (found is None) == (pace is None)
    if found is not None:
        assert 0 <= found.low_s <= found.high_s
        assert not math.isnan(found.high_s)
        assert between(found.low_s, found.high_s)


@given(
    st.lists(st.builds(Trial, st.sampled_from(TrialState), st.floats(0, 8), st.floats(0, 9))), st.integers(0)
)
def test_the_sums_of_groups_are_those_of_all(trials, place) -> None:
    place %= len(trials) + 1
    parts = Timings.of(trials[:place], 8.0) + Timings.of(trials[place:], 8.0)
    assert astuple(parts) == pytest.approx(astuple(Timings.of(trials, 8.0)))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.0, 0.0, "up to 0 s"),
        (0.3, 0.4, "up to 1 s"),
        (0.0, 2400.0, "up to 40 min"),
        (61.0, 95.0, "60 to 100 s"),
        (95.0, 110.0, "80 s to 2.5 min"),
        (2401.0, 2399.0, "about 40 min"),
        (3700.0, 9000.0, "60 min to 2.5 h"),
        (90_000.0, 400_000.0, "25 h to 5 days"),
        (1e9, math.inf, "10000 to 1e+06 days"),
    ],
)
def test_the_range_in_words(low: float, high: float, words: str) -> None:
    assert between(low, high) == words


@given(st.floats(0, 1e8), st.floats(0, 1e8))
def test_the_words_are_no_narrower_than_the_range(one: float, other: float) -> None:
    units = {"s": 1.0, "min": 60.0, "h": 3600.0, "days": 86400.0}
    low, high = sorted((one, other))
    said = between(low, high).split()
    most = float(said[-2]) * units[said[-1]]
    assert most >= high * (1 - 1e-6)
    if said[0] not in ("up", "about"):
        first = units[said[1]] if said[1] in units else units[said[-1]]
        assert float(said[0]) * first <= low * (1 + 1e-6)
