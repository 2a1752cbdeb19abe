"""What a trial counts with: its last reports or its best one, the metric that selects and the one claimed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.scoring import Scoring
from orchestrator.study.spec import MetricSpec

ROWS = [
    {"epoch": 1, "val": 0.5, "test": 0.45, "params": 10},
    {"epoch": 2, "val": 0.9, "test": 0.80, "loss": 0.3},
    {"epoch": 3, "val": 0.7, "test": 0.85, "loss": 0.2},
]


def scored(rows: list[dict[str, Any]] = ROWS, **metric: Any) -> Scoring:
    return Scoring(MetricSpec.model_validate({"name": "val", "mode": "max", **metric})).follow(rows)


def test_at_the_end_the_last_report_counts() -> None:
    found = scored(test="test", also=["loss", "params", "never"])
    assert (found.value, found.claimed) == (0.7, 0.85)
    assert found.beside == {"val": 0.7, "loss": 0.2, "params": 10}


def test_the_best_report_counts_with_all_of_its_metrics() -> None:
    found = scored(at="best", test="test", also=["loss", "params"])
    assert (found.value, found.latest, found.claimed) == (0.9, 0.7, 0.80)
    assert found.beside == {"val": 0.9, "loss": 0.3, "params": 10}


def test_the_best_of_a_metric_that_is_better_when_lower() -> None:
    assert scored(mode="min", at="best", test="test").claimed == 0.45


def test_without_a_test_metric_the_value_is_claimed() -> None:
    assert scored().claimed == 0.7
    assert scored(at="best").claimed == 0.9


def test_the_mean_of_the_last_reports_holds_for_what_is_claimed_too() -> None:
    found = scored(average_last=2, test="test")
    assert found.value == pytest.approx(0.8)
    assert found.claimed == pytest.approx(0.825)


def test_what_is_claimed_is_missing_where_the_report_that_counts_lacks_it() -> None:
    assert scored([*ROWS, {"epoch": 4, "val": 0.1}], test="test").claimed is None
    assert scored([{"epoch": 4, "test": 0.1}], test="test").claimed is None


def test_reports_without_the_metric_change_nothing() -> None:
    assert scored([*ROWS, {"epoch": 4, "loss": 0.1}]).value == 0.7


VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


@given(values=VALUES, last=st.integers(1, 5), mode=st.sampled_from(["min", "max"]))
def test_the_score_is_what_it_would_be_if_the_trial_ended_there(
    values: list[float], last: int, mode: str
) -> None:
    """Replayed from any report on, as after a resume, it is the same."""
    rows = [{"val": value} for value in values]
    tail = values[-last:]
    assert scored(rows, mode=mode, average_last=last).value == math.fsum(tail) / len(tail)
    best = max(values) if mode == "max" else min(values)
    assert scored(rows, mode=mode, at="best").value == best
    half = len(rows) // 2
    metric = MetricSpec.model_validate({"name": "val", "mode": mode, "average_last": last})
    assert (
        Scoring(metric).follow(rows[:half]).follow(rows[half:]).value
        == scored(rows, mode=mode, average_last=last).value
    )
