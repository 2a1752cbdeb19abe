"""Grids and random draws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.study.identity import canonical
from orchestrator.study.search import (
    Choice,
    Dimension,
    LogUniform,
    RandInt,
    Space,
    Uniform,
    grid,
    random_draws,
    share,
)

SPACE: Space = {
    "optim.lr": LogUniform(1e-4, 1e-1),
    "model.width": RandInt(1, 4),
    "model.layers": Choice(([1, 2], None, "none")),
    "model.dropout": Uniform(0.0, 0.5),
}


def test_a_grid_has_every_combination() -> None:
    space: Space = {"a": Choice((1, 2)), "b": Choice(("x", None, [3]))}
    assert grid(space) == [{"a": a, "b": b} for a in (1, 2) for b in ("x", None, [3])]
    assert grid({}) == [{}]
    with pytest.raises(ValueError, match="shorter"):
        grid({"c": Uniform(0, 1)})


def test_the_same_text_gives_the_same_draws() -> None:
    draws = random_draws(SPACE, 5, "10000")
    assert draws == random_draws(SPACE, 5, "10000")
    assert draws == random_draws(SPACE, 9, "10000")[:5]
    assert draws != random_draws(SPACE, 5, "10001")
    fewer = {key: SPACE[key] for key in reversed(list(SPACE)) if key != "model.width"}
    without = [{key: value for key, value in draw.items() if key != "model.width"} for draw in draws]
    assert random_draws(fewer, 5, "10000") == without


def test_draws_are_pinned() -> None:
    assert share("a", 1) == pytest.approx(0.11439350749119159, abs=1e-15)
    assert [draw["model.width"] for draw in random_draws(SPACE, 6, "pinned")] == [3, 2, 1, 2, 4, 1]


def test_draws_of_a_small_space_are_all_different() -> None:
    space: Space = {"a": Choice((1, 2, 3)), "b": RandInt(0, 1)}
    draws = random_draws(space, 6, "s")
    assert len({canonical(draw) for draw in draws}) == 6
    assert len(random_draws({"a": Choice((1,))}, 2, "s")) == 2


@given(
    st.text(max_size=5), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(-50, 50), st.integers(1, 90)
)
def test_draws_keep_to_their_bounds(text: str, low: float, width: float, least: int, more: int) -> None:
    high = low + width
    space: dict[str, Dimension] = {
        "uniform": Uniform(low, high),
        "loguniform": LogUniform(width, width * 7),
        "randint": RandInt(least, least + more),
    }
    for draw in random_draws(space, 5, text):
        assert low <= draw["uniform"] <= high
        assert width <= draw["loguniform"] <= width * 7
        assert least <= draw["randint"] <= least + more
        assert isinstance(draw["randint"], int)


def test_draws_fill_the_space() -> None:
    draws = random_draws(SPACE, 400, "fill")
    assert {draw["model.width"] for draw in draws} == {1, 2, 3, 4}
    assert len({canonical(draw["model.layers"]) for draw in draws}) == 3
    below = sum(draw["optim.lr"] < math.sqrt(1e-5) for draw in draws)
    assert 160 < below < 240
