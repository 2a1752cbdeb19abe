"""Idle lanes in Tune's own cache: kept while cells wait for them, given back when none does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine.ray_private.head import IdleLanes

TRIAL = SimpleNamespace(placement_group_factory="one kind of lane")


@pytest.fixture
def tune() -> Any:
    from ray.tune.utils.object_cache import _ObjectCache  # a second, in every process that collects

    return SimpleNamespace(_actor_cache=_ObjectCache())


def put(tune: Any, *lanes: str) -> list[bool]:
    return [tune._actor_cache.cache_object(TRIAL.placement_group_factory, lane) for lane in lanes]


def test_tune_alone_keeps_one_of_two(tune: Any) -> None:
    assert put(tune, "a", "b") == [True, False]


def test_two_that_end_at_the_same_moment_are_both_kept_while_two_cells_wait(tune: Any) -> None:
    IdleLanes().allow(tune, TRIAL, 2)
    assert put(tune, "a", "b", "c") == [True, True, False]


def test_lanes_are_given_back_when_no_cell_waits_any_more(tune: Any) -> None:
    idle = IdleLanes()
    idle.allow(tune, TRIAL, 5)
    put(tune, "a", "b", "c")
    idle.allow(tune, TRIAL, 1)
    assert list(tune._actor_cache.flush_cached_objects()) == ["a", "b"]
    idle.allow(tune, TRIAL, 0)
    assert list(tune._actor_cache.flush_cached_objects()) == ["c"]  # Tune alone would keep the last one
    assert tune._actor_cache.total_max_objects == 0
    assert put(tune, "d") == [False]


def test_a_tune_without_that_cache_is_left_alone() -> None:
    idle = IdleLanes()
    idle.allow(SimpleNamespace(), TRIAL, 3)
    assert idle.allowed == 0
