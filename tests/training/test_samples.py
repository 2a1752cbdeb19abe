from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.samples import Samples, Shard, TrainingOrder, val_batch_indices
from orchestrator.training.streams import Streams


def order_of(samples: int, epoch: int) -> torch.Tensor:
    return TrainingOrder(Samples({"x": torch.zeros(samples)}), Streams(0)).of(epoch)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_validation_counts_every_sample_once(samples: int, batch_size: int, world: int) -> None:
    seen: list[int] = []
    for rank in range(world):
        for indices in Shard(batch_size, 1, rank, world).val_indices(samples):
            assert 0 < len(indices) <= batch_size
            seen += indices.tolist()
    assert sorted(seen) == list(range(samples))


@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 20))
def test_ranks_together_take_the_batches_of_one(batch: int, accumulate: int, world: int, extra: int) -> None:
    order = order_of(batch * accumulate * world * 2 + extra, 4)
    one = Shard(batch * world, accumulate)
    ranks = [Shard(batch, accumulate, rank, world) for rank in range(world)]
    for step in range(one.steps_per_epoch(len(order))):
        parts = zip(*(shard.train_indices(order, step) for shard in ranks), strict=True)
        for whole, shares in zip(one.train_indices(order, step), parts, strict=True):
            assert sorted(whole.tolist()) == sorted(torch.cat(shares).tolist())
            assert {len(share) for share in shares} == {batch}


def test_an_epoch_has_its_own_order_and_a_step_its_own_validation_batch() -> None:
    streams = Streams(0)
    assert torch.equal(order_of(50, 1), order_of(50, 1))
    assert not torch.equal(order_of(50, 1), order_of(50, 2))
    assert not torch.equal(val_batch_indices(50, 8, streams, 1), val_batch_indices(50, 8, streams, 2))
    assert len(val_batch_indices(5, 8, streams, 1)) == 5


class Squares:
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"x": torch.full((2,), float(index)), "y": index * index}


def test_tables_and_datasets_give_the_same_batches() -> None:
    rows = torch.tensor([3, 7])
    numbers = torch.arange(10)
    table = Samples({"x": numbers.float()[:, None].expand(10, 2), "y": numbers**2}).take(rows)
    dataset = Samples(Squares()).take(rows)
    assert table.keys() == dataset.keys() == {"x", "y", "id"}
    assert all(torch.equal(table[name], dataset[name]) for name in table)


class Pairs:
    """Samples that have no names."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(2), index


def test_data_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="same length"):
        Samples({"x": torch.zeros(3), "y": torch.zeros(4)})
    with pytest.raises(ValueError, match="no sample"):
        Samples({"x": torch.zeros(0)})
    with pytest.raises(ValueError, match=r"a sample of the dataset is a tuple.*let __getitem__ return"):
        Samples(Pairs()).take(torch.arange(2))
    with pytest.raises(ValueError, match="7 training samples do not fill one step of 8"):
        Shard(4, 1, 0, 2).steps_per_epoch(7)
