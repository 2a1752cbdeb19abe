"""What first reports say of a study: names that are nearly right, units, and when others need not wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.probing import FEW, misnamed, never_measured, still_open, wrong_unit


@pytest.mark.parametrize(
    ("metric", "names", "near"),
    [
        ("val/acc", ["epoch", "val_acc"], "val_acc"),
        ("ValLoss", ["val.loss", "lr"], "val.loss"),
        ("accuracy", ["acuracy"], "acuracy"),
        ("test_acc", ["train_acc", "epoch"], None),
        ("train_loss", ["train_loss_step"], None),
        ("val_acc", ["val_acc", "val/acc"], None),  # it is there
        ("acc", [], None),
    ],
)
def test_names_that_are_nearly_the_metrics(metric: str, names: list[str], near: str | None) -> None:
    assert misnamed(metric, names) == near


def test_a_metric_under_another_name_is_missed_soon_and_a_late_one_is_waited_for() -> None:
    assert never_measured("val/acc", ["val_acc"], reports=FEW - 1, share=0.5) is None
    said = never_measured("val/acc", ["epoch", "val_acc"], reports=FEW, share=0.01)
    assert said is not None
    assert "did you mean val_acc?" in said
    assert never_measured("val/acc", ["loss"], reports=50, share=0.05) is None
    said = never_measured("val/acc", ["loss"], reports=50, share=0.2)
    assert said is not None
    assert "50 reports and 20 % of the length" in said
    assert "--no-check" in said
    assert never_measured("val/acc", ["loss"], reports=50, share=1.0) is None  # the trial's end says it


@pytest.mark.parametrize(
    ("unit", "length", "wrong"),
    [
        ("epoch", 391, True),
        ("epoch", 10, False),
        ("step", 25, True),
        ("report", 1, False),
        ("seconds", 99, 0),
    ],
)
def test_a_first_report_far_behind_the_end_counts_something_else(
    unit: str, length: float, wrong: bool
) -> None:
    said = wrong_unit(unit, length, 10)
    assert (said is not None) == bool(wrong)
    if said:
        assert "stopping.unit" in said


MOVES = [{"loss": 3.0, "time_s": 1.0}, {"loss": 2.0, "time_s": 2.0}, {"loss": 1.0, "time_s": 3.0}]
OTHER = [{"loss": 3.5}]


def test_others_wait_until_the_metric_is_there_and_two_seeds_differ_or_have_had_their_chance() -> None:
    assert still_open("loss", [[]], [])
    assert still_open("loss", [[{"lr": 1.0}]], [])
    assert not still_open("loss", [MOVES[:1]], [MOVES[:1], []])  # one lane
    assert still_open("loss", [MOVES[:1], []], [])
    assert not still_open("loss", [MOVES[:1], OTHER], [MOVES[:1], OTHER])
    assert still_open("loss", [MOVES[:1], MOVES[:1]], [MOVES[:1], MOVES[:1]])
    assert still_open("loss", [MOVES[:1]], [MOVES, MOVES[:1]])  # the other one has ended
    assert not still_open("loss", [MOVES[:1], MOVES[:1]], [])
    assert not still_open("loss", [MOVES, MOVES], [MOVES, MOVES])  # the check of the seed has them all


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=5))
def test_any_names_can_be_compared(metric: str, names: list[str]) -> None:
    found = misnamed(metric, names)
    assert found is None or found in names
