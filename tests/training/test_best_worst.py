"""The lists of samples, and that they find labels planted wrong."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from toy import Toy, config
from watched import KnownToy, watch

from orchestrator.training.data.label_noise import wrong_labels
from orchestrator.training.local import LocalSession
from orchestrator.training.streams import Streams
from trials.digits import LABEL, Digits

SessionFor = Callable[..., LocalSession]
DIGITS = {
    "seed": 1,
    "data": {"batch_size": 64},
    "model": {"width": 8, "batchnorm": True, "dropout": 0.0},
    "optim": {"name": "adamw", "lr": 3e-3},
}


class Planted(Digits):
    """Ten of the 360 labels of the validation set are wrong."""

    def split_data(self, data: Any, generator: torch.Generator) -> Any:
        parts = super().split_data(data, generator)
        labels, self.wrong = wrong_labels(parts["val"][LABEL], 10 / 360, 10, self.streams)
        return {**parts, "val": {**parts["val"], LABEL: labels}}


@pytest.mark.slow
def test_wrong_labels_are_the_worst_samples(session_for: SessionFor) -> None:
    sink = watch(Planted, session_for(DIGITS, max_length=5, monitors=("best_worst",)))
    task = Planted(DIGITS)
    validation = task.split_data(task.build_data(DIGITS), task.streams.generator("split"))["val"]
    planted = set(validation["id"][task.wrong].tolist())
    assert len(planted) == 10
    worst, best = sink.of("observe", "best_worst")[-2:]
    assert {row["id"] for row in worst[:10]} == planted
    assert [row["place"] for row in worst] == list(range(1, 17))
    assert all(row["target"] != row["prediction"] for row in worst[:10])
    assert worst[0]["loss"] >= worst[-1]["loss"] > best[-1]["loss"] >= best[0]["loss"]
    text = sink.of("text", "samples/worst")[-1]
    assert all(f"| {i} |" in text for i in planted)
    assert sink.of("image", "samples/worst")[-1].shape[2] == 1


class Smoothed(KnownToy):
    """Not the usual loss of its kind."""

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return F.cross_entropy(outputs["logits"], batch["label"], label_smoothing=0.2)


class Squared(Toy):
    """Its own losses per sample."""

    def sample_losses(self, outputs: Any, batch: Any) -> Tensor:
        return batch["x"][:, 0]


@pytest.mark.parametrize("task_class", [Toy, KnownToy, Smoothed, Squared])
def test_losses_are_those_of_each_sample(session_for: SessionFor, task_class: type[Toy]) -> None:
    session = session_for(config(optim__lr=0.0), max_length=1, monitors=("best_worst",))
    sink = watch(task_class, session)
    task = task_class(session.config)
    val = task.split_data(task.build_data({}), task.streams.generator("split"))["val"]
    worst, best = sink.of("observe", "best_worst")
    if task_class is Squared:
        expected = val["x"][:, 0].sort(descending=True).values
        assert [row["loss"] for row in worst] == pytest.approx(expected[:16].tolist())
    row = worst[0]
    assert torch.equal(val["x"][row["index"]], task.build_data({})["all"]["x"][_place(task, row["index"])])
    assert {r["index"] for r in worst} | {r["index"] for r in best} == set(range(25))


def _place(task: Toy, index: int) -> int:
    order = torch.randperm(90, generator=task.streams.generator("split"))
    return int(order[65:][index])


@given(st.integers(0, 400), st.floats(0, 1), st.integers(2, 12), st.integers(0, 5))
def test_exactly_as_many_labels_are_wrong_as_asked(count: int, share: float, classes: int, seed: int) -> None:
    labels = torch.arange(count) % classes
    noisy, wrong = wrong_labels(labels, share, classes, Streams(seed))
    assert int(wrong.sum()) == round(share * count)
    assert torch.equal(noisy != labels, wrong)
    assert noisy.numel() == 0 or 0 <= int(noisy.min()) <= int(noisy.max()) < classes
    again = wrong_labels(labels, share, classes, Streams(seed))
    assert torch.equal(again[0], noisy)
    fewer, some = wrong_labels(labels, share / 2, classes, Streams(seed))
    assert torch.equal(fewer[some], noisy[some])


def test_labels_become_all_others_alike() -> None:
    noisy, _ = wrong_labels(torch.zeros(9000, dtype=torch.int64), 1.0, 4, Streams(0))
    counts = torch.bincount(noisy, minlength=4)
    assert counts[0] == 0
    assert (counts[1:] - 3000).abs().max() < 200


@pytest.mark.parametrize(
    ("share", "classes", "message"),
    [(1.5, 3, "share of wrong labels is 1.5"), (0.5, 1, "2 classes or more"), (0.5, 2, "labels are 0 to 2")],
)
def test_what_cannot_be_planted_is_refused(share: float, classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong_labels(torch.tensor([0, 1, 2]), share, classes, Streams(0))
