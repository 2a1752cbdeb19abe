"""Learning curves and Δ over rungs, from metric tables on disk."""

from __future__ import annotations

import pytest

from orchestrator.reporting.curves import at_rungs, curve, delta_curve
from orchestrator.study.spec import MetricSpec

BASE = {0: 0.9, 1: 0.9, 2: 0.9}
LAST = MetricSpec(name="acc", mode="max")


def line(start: float, end: float, length: int = 9) -> list[float]:
    return [start + (end - start) * epoch / (length - 1) for epoch in range(length)]


def test_curves_are_read_from_the_trials(study, ended) -> None:
    made = study(
        {"baseline": BASE, "no-bn": {0: 0.8, 1: 0.8, 2: ended(0.2, "stopped", length=3)}},
        curves={
            "baseline": {seed: line(0.1 + seed / 100, 0.9) for seed in range(3)},
            "no-bn": {0: line(0.3, 0.8), 1: line(0.4, 0.8), 2: [0.2, 0.2, 0.2]},
        },
    )
    reference, arm = made.report.first.curves
    assert (reference.arm, arm.arm) == ("baseline", "no-bn")
    assert arm.lengths == tuple(range(1, 10))
    assert arm.n == (3, 3, 3, 2, 2, 2, 2, 2, 2)
    assert arm.mean[0] == pytest.approx(0.3)
    assert arm.hi[0] == pytest.approx(0.4)
    assert reference.mean[-1] == pytest.approx(0.9)


def test_a_crossing_is_seen_over_the_same_seeds_only(study) -> None:
    made = study(
        {"baseline": BASE, "no-bn": {0: 0.8, 1: 0.8, 2: 0.8}},
        curves={
            "baseline": {seed: line(0.1, 0.9) for seed in range(3)},
            "no-bn": {seed: line(0.4, 0.8) for seed in range(3)},
        },
    )
    (delta,) = made.report.first.deltas
    assert delta.lengths == (1, 3, 9)
    assert delta.delta == pytest.approx((0.3, 0.2, -0.1))
    (crossing,) = delta.crossings
    assert (crossing.before, crossing.after, crossing.n) == (3, 9, 3)
    # seed 1 leaves, and with it the only positive Δ: who is left has changed, nothing has crossed
    left = delta_curve("a", {0: {1: 0.0, 3: 0.0}, 1: {1: 9.0}}, {0: {1: 1.0, 3: 1.0}, 1: {1: 1.0}})
    assert left.delta == (3.5, -1.0)
    assert left.crossings == ()


def test_a_score_is_the_mean_of_the_last_reports_at_the_highest_rung_passed() -> None:
    mean_of_two = LAST.model_copy(update={"average_last": 2})
    sparse = {2.0: 1.0, 4.0: 3.0, 9.0: 5.0}
    assert at_rungs(sparse, (1, 3, 9), LAST) == {1: 1.0, 3: 3.0, 9: 5.0}
    assert at_rungs(sparse, (1, 3, 9), mean_of_two) == {1: 1.0, 3: 2.0, 9: 4.0}
    assert at_rungs({8.0: 2.0}, (1, 3, 9), LAST) == {3: 2.0}


def test_one_run_has_no_band() -> None:
    assert curve("a", [{1.0: 2.0}]).lo == (None,)


def test_without_tables_there_are_no_curves(study) -> None:
    made = study({"baseline": BASE, "no-bn": BASE}, curves={})
    assert made.report.first.curves == ()
    assert made.report.first.deltas == ()


def test_what_is_no_number_is_left_out(study) -> None:
    curves = {"baseline": {0: [float("nan"), 0.5]}, "no-bn": {0: [0.4, float("inf")]}}
    reference, arm = study({"baseline": BASE, "no-bn": BASE}, curves=curves).report.first.curves
    assert reference.lengths == (2,)
    assert arm.lengths == (1,)
