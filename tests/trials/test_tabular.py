"""The tabular example: what each key does."""

import copy
import statistics
from typing import Any

import numpy as np
import pytest

from trials.tabular import load_patients, stages

BASE: dict[str, Any] = {
    "seed": 0,
    "max_length": 2,
    "data": {"leave_out": [], "wrong_targets": 0.0, "columns": "as-is"},
    "model": {
        "loss": "squared_error",
        "depth": 3,
        "rate": 0.05,
        "row_share": 0.5,
        "column_share": 0.5,
        "trees_per_stage": 20,
    },
}


def config(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """BASE with `section__key=value` changes."""
    changed = copy.deepcopy(BASE) | {"seed": seed}
    for name, value in changes.items():
        section, key = name.split("__")
        changed[section][key] = value
    return changed


def final(**changes: Any) -> float:
    return list(stages(config(**changes)))[-1]["val/rmse"]


def test_a_report_per_stage_that_follows_from_config_and_seed() -> None:
    rows = list(stages(config()))
    assert [row["stage"] for row in rows] == [1, 2]
    assert rows[1]["val/rmse"] < rows[0]["val/rmse"]
    assert rows == list(stages(config()))
    assert rows != list(stages(config(seed=1)))


@pytest.mark.slow
def test_every_component_changes_the_curve() -> None:
    errors = [
        final(),
        final(data__leave_out=["bmi"]),
        final(data__wrong_targets=0.5),
        final(data__columns="reversed"),
        final(model__row_share=1.0, model__column_share=1.0),
        final(model__depth=1),
        final(model__loss="huber"),
    ]
    assert len(set(errors)) == len(errors)


@pytest.mark.slow
def test_wrong_targets_hurt_in_training_only() -> None:
    right, wrong = (load_patients(config(data__wrong_targets=share)["data"], 0) for share in (0.0, 0.5))
    assert sorted(right.train_y) == sorted(wrong.train_y)
    assert 0.4 < np.mean(right.train_y != wrong.train_y) <= 0.5
    assert np.array_equal(right.val_y, wrong.val_y)
    assert np.array_equal(right.train_x, wrong.train_x)
    damage = [final(seed=seed, data__wrong_targets=0.5) - final(seed=seed) for seed in range(4)]
    assert statistics.mean(damage) > 0


def test_reversed_columns_hold_the_same_numbers() -> None:
    plain, turned = (load_patients(config(data__columns=order)["data"], 0) for order in ("as-is", "reversed"))
    assert np.array_equal(plain.train_x, turned.train_x[:, ::-1])


def test_unknown_columns_and_orders_are_named() -> None:
    with pytest.raises(ValueError, match=r"data\.leave_out names weight; valid: age, sex, bmi"):
        load_patients(config(data__leave_out=["weight"])["data"], 0)
    with pytest.raises(ValueError, match=r"data\.columns is 'random'; valid: as-is, reversed"):
        load_patients(config(data__columns="random")["data"], 0)
