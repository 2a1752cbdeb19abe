from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.decide.seeds import SeedComparison, ignores_seed

CURVE = [{"epoch": i, "train/loss": 1 / (i + 1), "time_s": i * 1.5, "note": "x"} for i in range(4)]
SLOWER = [{**row, "time_s": 9.0, "train/seconds": i, "samples_per_second": i} for i, row in enumerate(CURVE)]


def test_equal_curves_are_found_whatever_the_times() -> None:
    with_times = [
        {**row, "train/seconds": 2.0 * i, "samples_per_second": 7.0 + i} for i, row in enumerate(CURVE)
    ]
    assert ignores_seed(CURVE, CURVE)
    assert ignores_seed(with_times, SLOWER)
    assert ignores_seed(CURVE, CURVE[:3])


def test_one_bit_is_a_difference() -> None:
    other = [dict(row) for row in CURVE]
    other[2]["train/loss"] = math.nextafter(other[2]["train/loss"], 1)
    assert not ignores_seed(CURVE, other)
    assert not ignores_seed(CURVE, other, ended=True)


def test_two_reports_are_too_few_unless_the_trials_ended() -> None:
    assert not ignores_seed(CURVE[:2], CURVE[:2])
    assert ignores_seed(CURVE[:2], CURVE[:2], ended=True)
    assert not ignores_seed([], [], ended=True)


def test_a_constant_metric_proves_nothing_before_the_end() -> None:
    flat = [{"epoch": i, "lr": 0.1 * i, "acc": 0.1} for i in range(5)]
    assert not ignores_seed(flat, flat)
    assert ignores_seed(flat, flat, ended=True)


def test_trials_of_unequal_length_differ() -> None:
    assert not ignores_seed(CURVE, CURVE[:3], ended=True)


def test_counters_alone_are_no_measurement() -> None:
    rows = [{"epoch": i, "step": 10 * i} for i in range(4)]
    assert not ignores_seed(rows, rows, ended=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32(0.25)])
def test_odd_numbers_compare_bit_for_bit(value: float) -> None:
    rows = [{"loss": float(i)} for i in range(3)] + [{"loss": value}]
    assert ignores_seed(rows, rows)
    assert not ignores_seed(rows, [*rows[:3], {"loss": 0.5}])


def test_curves_that_grow_are_compared_each_report_once() -> None:
    found = SeedComparison()
    found.look(CURVE[:2], CURVE[:2])
    assert (found.same, found.moved, found.says_same((2, 2), ended=False)) == (2, True, False)
    found.look([{}, {}, *CURVE[2:]], [{}, {}, *CURVE[2:]])  # what was compared is not looked at again
    assert found.same == len(CURVE)
    assert found.says_same((len(CURVE), len(CURVE)), ended=False)
    found.look([*CURVE, {"loss": 0.5}, {"loss": 0.1}], [*CURVE, {"loss": 0.6}, {"loss": 0.1}])
    assert found.differs
    assert not found.says_same((len(CURVE) + 2, len(CURVE) + 2), ended=True)
