"""Balanced draws, class weights, augmentation and mixing: right, and a function of seed, epoch and sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from orchestrator.training.data.augment import crop, flip, noise, rotate
from orchestrator.training.data.balance import balanced_order, class_weights
from orchestrator.training.data.mixing import beta, cutmix, mixed_cross_entropy, mixup
from orchestrator.training.loading import BatchSource, Request
from orchestrator.training.local import LocalSession, run_local
from orchestrator.training.loop import Trainer, run_task
from orchestrator.training.samples import Samples
from orchestrator.training.streams import SampleDraws, Streams
from trials.digits import Digits

IDS = torch.arange(200)
DRAWS = SampleDraws(Streams(0), 0, IDS)


# --- balance ---------------------------------------------------------------------------------------------
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 5),
)
def test_every_class_is_drawn_equally_often_and_evenly(counts: list[int], seed: int, epoch: int) -> None:
    labels = torch.cat([torch.full((count,), 3 * label) for label, count in enumerate(counts)])
    order = balanced_order(labels, Streams(seed), epoch)
    assert len(order) == len(order.unique()) == len(labels)
    drawn = torch.bincount(labels[order % len(labels)]).tolist()[::3]
    assert max(drawn) - min(drawn) <= 1
    times = torch.bincount(order % len(labels), minlength=len(labels))
    for label in labels.unique():
        own = times[labels == label]
        assert int(own.max()) - int(own.min()) <= 1
    assert torch.equal(order, balanced_order(labels, Streams(seed), epoch))


def test_epochs_and_seeds_draw_differently() -> None:
    labels = (torch.arange(60) > 50).long()
    one = balanced_order(labels, Streams(0), 0)
    assert not torch.equal(one, balanced_order(labels, Streams(0), 1))
    assert not torch.equal(one, balanced_order(labels, Streams(1), 0))


def test_a_repeated_sample_is_augmented_anew() -> None:
    table = {"x": torch.zeros(6, 1), "label": torch.tensor([0, 0, 0, 0, 0, 1])}
    samples = Samples(table)
    request = Request("train", torch.tensor([5, 5 + 6, 5 + 12]), 0)
    seen: list[Any] = []

    def augment(batch: Any, draws: Any) -> Any:
        seen.append(draws.uniform("shift"))
        return batch

    batch = BatchSource({"train": samples}, Streams(0), augment).batch(request)
    assert batch["id"].tolist() == [5, 5, 5]
    assert len(seen[0].unique()) == 3


def test_class_weights_even_out() -> None:
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])
    weights = class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([10 / 24, 10 / 12, 0, 10 / 4])
    with pytest.raises(ValueError, match="labels are 0 to 3; valid: 0 to 2"):
        class_weights(labels, 3)


class Rare(Digits):
    """Nine of ten sevens are missing from the training set."""

    def split_data(self, data: Any, generator: torch.Generator) -> Any:
        parts = super().split_data(data, generator)
        train = parts["train"]
        kept = (train["label"] != 7) | (torch.arange(len(train["label"])) % 10 == 0)
        return {**parts, "train": {name: column[kept] for name, column in train.items()}}


def config(**data: Any) -> dict[str, Any]:
    return {
        "seed": 0,
        "data": {"batch_size": 32, "augment": True, "balanced": True, **data},
        "model": {"width": 4, "batchnorm": True, "dropout": 0.0},
        "optim": {"name": "adamw", "lr": 3e-3},
        "train": {"val_batch_every": 0},
    }


@pytest.mark.slow
def test_one_config_key_balances_a_task() -> None:
    plain, balanced = (
        run_local(Rare, config(balanced=wanted), max_length=1)[-1]["train/loss"] for wanted in (False, True)
    )
    assert plain != balanced


def test_ranks_share_the_balanced_epoch(tmp_path: Any) -> None:
    def trainer(rank: int, world: int, batch_size: int) -> Trainer:
        place = LocalSession(
            config(batch_size=batch_size), 1, str(tmp_path), world_rank=rank, world_size=world
        )
        return Trainer(Rare(place.config), place)

    [whole] = trainer(0, 1, 32).shard.train_indices(trainer(0, 1, 32).order.of(0), 2)
    halves = [
        next(iter(t.shard.train_indices(t.order.of(0), 2))) for t in (trainer(r, 2, 16) for r in (0, 1))
    ]
    assert sorted(torch.cat(halves).tolist()) == sorted(whole.tolist())
    assert not set(halves[0].tolist()) & set(halves[1].tolist())


@pytest.mark.slow
def test_a_resumed_trial_draws_on_as_if_nothing_had_been(tmp_path: Any) -> None:
    def run(folder: str, **more: Any) -> LocalSession:
        place = LocalSession(config(), 2, str(tmp_path / folder), checkpoints=True, **more)
        run_task(Rare, place)
        return place

    straight = run("straight")
    first_epoch = straight.checkpoint_path(straight.reports[0]["step"])
    resumed = run("resumed", resume_from=first_epoch)
    assert resumed.reports == straight.reports[1:]


def test_a_task_without_such_a_column_is_told() -> None:
    class Renamed(Rare):
        label_key = "digit"

    with pytest.raises(ValueError, match=r"data.balanced: the column 'digit' .* is missing.*Task.label_key"):
        run_local(Renamed, config(), max_length=1)
    with pytest.raises(ValueError, match=r"data.balanced is 'yes'; valid: true, false"):
        run_local(Rare, config(balanced="yes"), max_length=1)


class Listed:
    """A dataset of dicts; `label` is an attribute only where asked."""

    def __init__(self, labels: Tensor, *, attribute: bool) -> None:
        self.rows = labels
        if attribute:
            self.label = labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.zeros(2), "label": int(self.rows[index])}


@pytest.mark.parametrize("attribute", [False, True])
def test_labels_of_a_dataset(attribute: bool) -> None:
    labels = torch.tensor([0, 1, 1, 2])
    assert torch.equal(Samples(Listed(labels, attribute=attribute)).column("label"), labels)


# --- augmentation ----------------------------------------------------------------------------------------
def test_crop_moves_by_at_most_the_padding_and_fills_with_black() -> None:
    images = torch.zeros(200, 2, 8, 8)
    images[:, :, 4, 4] = 1.0
    moved = crop(images, DRAWS, 1)
    places = {tuple(place[2:].tolist()) for place in moved.nonzero()}
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}
    assert float(moved.sum()) == 400


def test_flip_mirrors_about_half() -> None:
    images = torch.rand(200, 3, 4, 6)
    flipped = flip(images, DRAWS)
    turned = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert bool((turned ^ kept).all())
    assert 70 < int(turned.sum()) < 130


def test_rotation_turns_about_the_centre() -> None:
    images = torch.zeros(200, 1, 9, 15)
    images[:, :, 4, 10] = 1.0  # three to the right of the centre
    turned = rotate(images, DRAWS, 90)[:, 0]
    row, column = torch.meshgrid(torch.arange(9.0), torch.arange(15.0), indexing="ij")
    mass = turned.sum(dim=(1, 2))
    down = (turned * (row - 4)).sum(dim=(1, 2)) / mass
    right = (turned * (column - 7)).sum(dim=(1, 2)) / mass
    assert float(right.min()) > -0.1
    assert torch.allclose((down**2 + right**2).sqrt(), torch.full((200,), 3.0), atol=0.1)
    assert float(down.min()) < -2.5
    assert float(down.max()) > 2.5
    assert torch.equal(rotate(images, DRAWS, 0), images)


def test_noise_has_its_deviation() -> None:
    noisy = noise(torch.zeros(200, 1, 8, 8), DRAWS, 0.5)
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("change", [crop, flip, rotate, noise], ids=lambda change: change.__name__)
def test_a_sample_is_changed_the_same_way_in_every_batch(change: Any) -> None:
    more = {crop: (2,), flip: (), rotate: (20.0,), noise: (0.1,)}[change]
    images = torch.rand(20, 1, 8, 8)
    together = change(images, SampleDraws(Streams(3), 1, IDS[:20]), *more)
    alone = change(images[7:8], SampleDraws(Streams(3), 1, IDS[7:8]), *more)
    assert torch.equal(together[7:8], alone)
    assert not torch.equal(together, change(images, SampleDraws(Streams(3), 2, IDS[:20]), *more))


# --- mixing ----------------------------------------------------------------------------------------------
BATCH = {"image": torch.rand(200, 1, 8, 8), "label": IDS % 10, "id": IDS}


def test_mixup_blends_in_the_share_that_it_says() -> None:
    mixed = mixup(BATCH, DRAWS, 0.4)
    share = mixed["share"][:, None, None, None]
    other = BATCH["image"].roll(1, dims=0)
    assert torch.equal(mixed["image"], share * BATCH["image"] + (1 - share) * other)
    assert torch.equal(mixed["other_label"], BATCH["label"].roll(1))


def test_cutmix_takes_a_rectangle_of_the_size_that_it_says() -> None:
    mixed = cutmix(BATCH, DRAWS, 1.0)
    own = mixed["image"] == BATCH["image"]
    assert torch.allclose(own.float().mean(dim=(1, 2, 3)), mixed["share"])
    foreign = ~own[:, 0]
    rows, columns = foreign.any(2).sum(1), foreign.any(1).sum(1)
    assert torch.equal(rows * columns, foreign.sum(dim=(1, 2)))  # no holes
    assert 0.4 < float(mixed["share"].mean()) < 0.8


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_beta_has_its_mean_and_variance(alpha: float) -> None:
    shares = beta(SampleDraws(Streams(0), 0, torch.arange(20_000)), alpha)
    assert float(shares.min()) >= 0
    assert float(shares.max()) <= 1
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_shares_that_cannot_be_drawn_are_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="valid: above 0, to 1"):
        mixup(BATCH, DRAWS, alpha)


def test_the_loss_of_a_mixture_is_that_of_both_labels() -> None:
    logits = torch.randn(200, 10)
    label = BATCH["label"]
    plain = F.cross_entropy(logits, label)
    assert mixed_cross_entropy(logits, BATCH) == plain
    own = {**BATCH, "other_label": label.flip(0), "share": torch.ones(200)}
    assert torch.allclose(mixed_cross_entropy(logits, own), plain)
    other = mixed_cross_entropy(logits, {**own, "share": torch.zeros(200)})
    assert torch.allclose(other, F.cross_entropy(logits, label.flip(0)))
    assert torch.allclose(mixed_cross_entropy(logits, own, weight=class_weights(label, 10)), plain)
