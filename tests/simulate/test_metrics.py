from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.simulate.methods import MethodResult
from orchestrator.simulate.metrics import mean, median, summarise
from orchestrator.stats.descriptions import clopper_pearson


def judged(signs, lo, hi, cost=1.0, equivalent=None, kept=True) -> MethodResult:
    called = np.zeros(len(signs), dtype=bool) if equivalent is None else np.array(equivalent)
    return MethodResult(np.array(signs, dtype=np.int8), called, np.array(lo), np.array(hi), cost, kept)


DELTA = (0.0, 2.0, -1.0)


def test_every_figure_by_hand() -> None:
    studies = [
        judged([0, 1, -1], [-1, 1, -2], [1, 3, 0], cost=0.5),
        judged([1, 1, 1], [0.5, 1, 0.5], [2, 3, 1], cost=0.7),  # a false effect and a wrong sign
        judged([0, 0, 0], [-1, -1, -3], [1, 5, 2], cost=0.6, kept=False),
        judged(
            [0, 1, 0], [-1, 2.5, math.nan], [1, 3, math.nan], cost=0.6
        ),  # one interval misses, one is not there
    ]
    found = summarise("save", studies, DELTA)
    assert found.cost.value == pytest.approx(0.6)
    assert found.fwer is not None
    assert found.fwer.value == 0.25
    assert found.wrong_sign is not None
    assert found.wrong_sign.value == 0.25
    assert found.power is not None
    assert found.power.value == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    assert found.coverage is not None
    assert found.coverage.value == pytest.approx((1 + 1 / 3 + 1 + 0.5) / 4)
    assert found.worst_coverage is not None
    assert found.worst_coverage.value == pytest.approx(2 / 3)
    assert found.false_coverage is not None
    assert found.false_coverage.value == pytest.approx((0 + 2 / 3 + 0 + 0.5) / 4)
    assert found.kept.value == 0.75
    assert found.equivalent is None


def test_without_findings_there_is_no_power_and_without_nulls_no_error() -> None:
    nulls = summarise("grid", [judged([0, 1], [0, 0], [1, 1])], (0.0, 0.0))
    assert (nulls.power, nulls.wrong_sign) == (None, None)
    findings = summarise("grid", [judged([0, 1], [0, 0], [1, 1])], (1.0, 1.0))
    assert findings.fwer is None


def test_without_intervals_there_is_no_coverage() -> None:
    found = summarise("grid", [judged([0], [math.nan], [math.nan])], (0.0,))
    assert (found.coverage, found.worst_coverage, found.width) == (None, None, None)


def test_a_study_without_intervals_has_none_that_misses() -> None:
    none, misses = ([math.nan] * 2, [math.nan] * 2), ([1.0, math.nan], [2.0, math.nan])
    found = summarise("screen", [judged([0, 0], *none), judged([0, 0], *misses)], (0.0, 0.0))
    assert found.coverage is not None
    assert found.coverage.value == 0
    assert found.false_coverage is not None
    assert found.false_coverage.value == 0.5
    assert summarise("grid", [judged([0], [1.0], [2.0])], (0.0,)).false_coverage is None


def test_equivalence_is_counted_on_the_right_side_of_the_margin() -> None:
    studies = [
        judged([0, 0, 0], [0] * 3, [1] * 3, equivalent=[True, False, True]),
        judged([0, 0, 0], [0] * 3, [1] * 3, equivalent=[False, False, False]),
    ]
    found = summarise("save", studies, DELTA, margin=1.0)
    assert found.equivalent is not None
    assert found.equivalent.value == 0.5
    assert found.false_equivalent is not None
    assert found.false_equivalent.value == 0.5


def test_exact_intervals_of_a_share() -> None:
    assert clopper_pearson(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert clopper_pearson(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)
    assert clopper_pearson(3, 20) == pytest.approx((0.0321, 0.3789), abs=1e-4)


def test_errors_of_the_simulation_shrink_with_the_studies() -> None:
    draws = np.random.default_rng(0).standard_normal(10_000)
    assert mean(draws[:100]).se == pytest.approx(0.1, rel=0.2)
    assert mean(draws).se == pytest.approx(0.01, rel=0.05)
    assert mean(draws[:1]).se is None
    middle = median(draws)
    assert middle.lo < 0 < middle.hi
    assert middle.hi - middle.lo < 0.06
