"""The schedule of faults: the same for the same seed, in order, possible, and of all kinds."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule import NEW_DRIVER, OFTEN, Home, Kind, draw

DECK = sum(OFTEN.get(kind, 1) for kind in Kind)
EPOCHS = 756
seeds = st.integers(0, 2**32)


@given(seeds, st.integers(0, 100))
def test_a_schedule_is_a_function_of_its_seed(seed: int, faults: int) -> None:
    assert draw(seed, faults, EPOCHS) == draw(seed, faults, EPOCHS)


def test_another_seed_is_another_schedule() -> None:
    assert len({draw(seed, 50, EPOCHS) for seed in range(100)}) == 100


def test_what_a_seed_draws_does_not_change_with_the_version() -> None:
    first = draw(1, 54, EPOCHS)[:3]
    assert [(fault.kind, fault.after) for fault in first] == [
        (Kind.DRIVER_INTERRUPTED, 23),
        (Kind.WORKER_KILLED, 72),
        (Kind.DAMAGED_CHECKPOINT, 76),
    ]


@given(seeds, st.integers(1, 100))
def test_faults_strike_one_after_the_other_inside_the_study(seed: int, faults: int) -> None:
    schedule = draw(seed, faults, EPOCHS)
    assert [fault.number for fault in schedule] == list(range(1, faults + 1))
    assert all(one.after < next_.after for one, next_ in itertools.pairwise(schedule))
    assert schedule[0].after > 0
    assert schedule[-1].after < 0.9 * EPOCHS


@pytest.mark.slow
@given(seeds, st.integers(1, 100))
def test_nodes_are_lost_only_where_there_are_nodes(seed: int, faults: int) -> None:
    home = Home.NODES
    for fault in draw(seed, faults, EPOCHS):
        assert fault.kind is not Kind.NODE_LOST or home is Home.NODES
        if fault.kind in NEW_DRIVER:
            home = fault.home


@given(seeds)
def test_two_decks_hold_every_kind(seed: int) -> None:
    drawn = Counter(fault.kind for fault in draw(seed, 2 * DECK, EPOCHS))
    assert set(drawn) == set(Kind)


def test_too_many_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="20 faults do not fit into 8 of 10 epochs"):
        draw(1, 20, 10)
