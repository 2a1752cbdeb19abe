from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orchestrator.stats.between import gap
from orchestrator.stats.results import UNRESOLVED, Effect


def effect(values: dict[int, float], **more) -> Effect:
    D = np.array(list(values.values()))
    sd = float(D.std(ddof=1)) if D.size > 1 else None
    return Effect(
        "no-a", "main", "baseline", D.size, "paired t", UNRESOLVED, tuple(values),
        delta=float(D.mean()), sd=sd, **more,
    )  # fmt: skip


FIRST = {0: 1.0, 1: 1.4, 2: 0.7, 3: 1.1}
SECOND = {0: 2.0, 1: 2.1, 2: 1.9, 3: 2.6}
OTHER = {10 + seed: value for seed, value in SECOND.items()}


def test_shared_seeds_are_paired() -> None:
    found = gap(effect(FIRST), effect(SECOND), 0.05, FIRST, SECOND)
    test = stats.ttest_rel(list(SECOND.values()), list(FIRST.values()))
    lo, hi = test.confidence_interval(0.95)
    assert (found.method, found.n, found.df) == ("paired", 4, 3)
    assert (found.lo, found.hi) == pytest.approx((lo, hi))


def test_without_shared_seeds_it_is_welch() -> None:
    found = gap(effect(FIRST), effect(OTHER), 0.1, FIRST, OTHER)
    test = stats.ttest_ind(list(OTHER.values()), list(FIRST.values()), equal_var=False)
    lo, hi = test.confidence_interval(0.9)
    assert found.method == "Welch"
    assert (found.lo, found.hi, found.df) == pytest.approx((lo, hi, test.df))


def test_the_tested_error_is_used_where_there_is_one() -> None:
    found = gap(effect(FIRST, se=0.2, df=7.0), effect(OTHER, se=0.2, df=7.0), 0.05)
    half = stats.t.ppf(0.975, 14) * 0.2 * 2**0.5
    assert (found.hi - found.lo) / 2 == pytest.approx(half)


def test_what_has_no_interval() -> None:
    assert gap(effect(FIRST), effect({0: 1.0}), 0.05).method == "none"
    empty = Effect("a", "main", "b", 0, "none", "no data", ())
    assert gap(empty, effect(FIRST), 0.05) is None
    same = gap(effect(FIRST), effect(FIRST), 0.05, FIRST, FIRST)
    assert (same.lo, same.delta, same.method) == (None, 0, "none")
