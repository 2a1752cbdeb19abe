"""The scores of single samples that a trial of the built-in loop keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from toy import KnownToy, Toy, config, train

from orchestrator.training import scores
from orchestrator.training.local import LocalSession

SessionFor = Callable[..., LocalSession]


class Fixed(Toy):
    """The data is split once and for all, and has no ids."""

    def build_data(self, config: Any) -> Any:
        return Toy.split_data(self, super().build_data(config), torch.Generator().manual_seed(1))

    split_data = Toy.__mro__[1].split_data


class Repeated(KnownToy):
    """Several samples of one patient, say."""

    def build_data(self, config: Any) -> Any:
        table = super().build_data(config)["all"]
        return {"all": {**table, "id": table["id"] // 10}}


@pytest.mark.parametrize(("task", "first"), [(KnownToy, 1000), (Fixed, 0)])
def test_the_kept_scores_have_the_reported_value_as_their_mean(
    session_for: SessionFor, task: type[Toy], first: int
) -> None:
    session = session_for(config(), max_length=2)
    session.claimed = "val/accuracy"
    train(session, task)
    assert session.scores is not None
    assert len(session.scores.ids) == 25
    assert first <= session.scores.ids.min() < first + 90
    assert session.scores.mean == pytest.approx(session.reports[-1]["val/accuracy"], rel=1e-12)


@pytest.mark.parametrize(
    ("task", "said"), [(Toy, "add a column id"), (Repeated, "ids are there more than once")]
)
def test_what_cannot_tell_samples_apart_is_said_once(
    session_for: SessionFor, monkeypatch: pytest.MonkeyPatch, task: type[Toy], said: str
) -> None:
    session = session_for(config(), max_length=2)
    session.claimed = "val/accuracy"
    told: list[str] = []
    monkeypatch.setattr(scores.log, "warning", lambda text, *values: told.append(text % values))
    train(session, task)
    (line,) = told
    assert said in line
    assert session.scores is None


def test_a_metric_that_is_no_score_keeps_none(session_for: SessionFor) -> None:
    session = session_for(config(), max_length=1)  # the claim is about val/loss
    train(session, KnownToy)
    assert session.scores is None
