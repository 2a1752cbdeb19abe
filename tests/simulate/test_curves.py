from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.simulate.asha import Point
from orchestrator.simulate.recorded import curve, points
from orchestrator.study.spec import StudySpec

LADDER = (1, 3)


def spec(unit: str = "epoch", mode: str = "max", average_last: int = 1) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "curves",
            "entrypoint": "trial:train",
            "metric": {"name": "score", "mode": mode, "average_last": average_last},
            "baseline": {},
            "seeds": 2,
            "stopping": {"rule": "asha", "max": 9, "unit": unit, "grace": 1},
        }
    )


def row(length: float, score: Any, **more: Any) -> dict[str, Any]:
    return {"epoch": length, "time_s": 10.0 * length, "score": score, **more}


def test_a_point_per_rung_with_its_time() -> None:
    rows = [row(e, e / 10) for e in range(1, 10)]
    assert points(spec(), rows, LADDER) == (Point(1, 1, 10, 0.1), Point(3, 3, 30, 0.3))


def test_a_metric_to_minimise_is_turned() -> None:
    assert points(spec(mode="min"), [row(1, 0.5)], LADDER) == (Point(1, 1, 10, -0.5),)


def test_sparse_reports_count_at_the_highest_rung_they_passed() -> None:
    assert points(spec(), [row(4, 0.4), row(8, 0.8)], LADDER) == (Point(3, 4, 40, 0.4),)


def test_a_report_without_the_metric_counts_at_no_rung() -> None:
    rows = [row(1, None), row(2, 0.2), {"epoch": 3}, row(4, 0.4)]
    assert points(spec(), rows, LADDER) == (Point(1, 2, 20, 0.2), Point(3, 4, 40, 0.4))


def test_the_score_is_the_mean_of_the_last_reports() -> None:
    rows = [row(e, float(e)) for e in (1, 2, 3)]
    assert [point.score for point in points(spec(average_last=2), rows, LADDER)] == [1.0, 2.5]


def test_lengths_are_counted_in_the_unit_of_the_study() -> None:
    rows = [{"report": 1, "epoch": 5, "time_s": 1.0, "score": 0.1}]
    assert points(spec("report"), rows, LADDER)[0].rung == 1
    assert points(spec("seconds"), [{"report": 7, "time_s": 3.5, "score": 0.1}], LADDER)[0].rung == 3


def test_what_is_not_finite_is_passed_on() -> None:
    assert math.isnan(points(spec(), [row(1, math.nan)], LADDER)[0].score)


@pytest.mark.parametrize(("rows", "time"), [([row(1, 0.1), row(9, 0.9)], 90.0), ([], 9.0)])
def test_a_run_takes_as_long_as_its_last_report_says(rows: list[dict[str, Any]], time: float) -> None:
    record = TrialRecord("c", "baseline", 0, state=TrialState.DONE, length=9.0, value=0.9)
    found = curve(spec(), record, rows, LADDER, protected=True)
    assert (found.length, found.time, found.protected) == (9.0, time, True)
