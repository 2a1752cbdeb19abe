"""Batches in memory that is used again: what arrives is what was sent, and no slot is given out twice."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.training.data.collate import stacked
from orchestrator.training.loading._slots import Borrowed, Lending, SentBatch, size_of

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@st.composite
def values(draw: st.DrawFn) -> Any:
    """What a batch may hold under a name."""
    if draw(st.booleans()) and draw(st.booleans()):
        return draw(st.sampled_from(["words", ["a", "b"], None, 3]))
    shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    made = torch.arange(torch.Size(shape).numel()).reshape(shape).to(draw(st.sampled_from(DTYPES)))
    return draw(st.sampled_from([made, made.flip(0), made.transpose(0, -1), made[1:], made[::2]]))


def same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return bool(one == other)
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


def sent(lending: Lending, worker: Borrowed, batch: Any) -> SentBatch:
    """A batch as it comes out of the queue between two processes."""
    slot = lending.lend()
    assert slot is not None
    found: SentBatch = pickle.loads(pickle.dumps(worker.fill(slot, batch)))
    return found


@given(
    st.lists(st.dictionaries(st.text(max_size=3), values(), max_size=4), max_size=6), st.integers(1, 20_000)
)
def test_what_arrives_is_what_was_sent(batches: list[dict[str, Any]], size: int) -> None:
    lending, worker = Lending(2, size), Borrowed()
    for batch in batches:  # more than there are slots: each is free again when its batch is gone
        found = sent(lending, worker, lambda batch=batch: batch).opened()
        assert list(found) == list(batch)
        assert all(same(value, found[name]) for name, value in batch.items())


def test_samples_are_stacked_where_they_are_looked_for() -> None:
    lending, worker = Lending(1, 4000), Borrowed()
    samples = [{"image": torch.full((3, 5), float(n)), "label": n} for n in range(4)]
    on_its_way = sent(lending, worker, lambda: stacked(samples))
    assert not any(isinstance(value, Tensor) for value in on_its_way.values.values())
    found = on_its_way.opened()
    assert torch.equal(found["image"], stacked(samples)["image"])
    assert found["label"].tolist() == [0, 1, 2, 3]


def test_a_slot_is_in_use_as_long_as_anything_of_its_batch() -> None:
    lending, worker = Lending(1, 4000), Borrowed()
    batch = sent(lending, worker, lambda: {"x": torch.ones(7), "y": torch.zeros(2)}).opened()
    view = batch["x"][2:]
    del batch
    assert lending.lend() is None
    assert view.sum() == 5
    del view
    assert lending.lend() is not None


def test_slots_whose_batches_nobody_opens_are_taken_back() -> None:
    lending, worker = Lending(2, 100), Borrowed()
    kept = sent(lending, worker, lambda: {"x": torch.ones(3)}).opened()
    sent(lending, worker, lambda: {"x": torch.full((3,), 2.0)})
    assert lending.lend() is None
    lending.take_back()
    again = sent(lending, worker, lambda: {"x": torch.full((3,), 3.0)}).opened()
    assert lending.lend() is None  # what was opened is not taken back
    assert (kept["x"].tolist(), again["x"].tolist()) == ([1.0] * 3, [3.0] * 3)


def test_what_has_no_room_travels_beside() -> None:
    lending, worker = Lending(1, 64), Borrowed()
    large = torch.arange(5000)
    found = sent(lending, worker, lambda: {"small": torch.ones(2), "large": large}).opened()
    assert torch.equal(found["large"], large)
    assert found["small"].tolist() == [1.0, 1.0]


def test_a_fault_of_a_sample_is_raised_as_it_is() -> None:
    lending, worker = Lending(1, 64), Borrowed()
    slot = lending.lend()
    assert slot is not None
    with pytest.raises(RuntimeError, match="stack"):
        worker.fill(slot, lambda: stacked([{"x": torch.ones(2)}, {"x": torch.ones(3)}]))


def test_batches_outlive_the_slots() -> None:
    lending, worker = Lending(1, 64), Borrowed()
    batch = sent(lending, worker, lambda: {"x": torch.ones(4)}).opened()
    assert size_of(batch) == 64
    del lending, worker
    assert batch["x"].sum() == 4
