from __future__ import annotations

import pytest

from orchestrator.decide.budget import budget_reached, report_timeout
from orchestrator.study.spec import BudgetSpec

LIMITS = BudgetSpec.model_construct(gpu_hours=1.5, wall_s=7200)


def test_no_limit_is_never_reached() -> None:
    assert budget_reached(BudgetSpec(), 1e12, 1e12) is None


@pytest.mark.parametrize(
    ("wall_s", "gpu_s", "words"),
    [(7200, 0, "wall time 7200 s of 7200 s"), (0, 5400, "1.5 of 1.5 GPU-hours"), (9000, 6000, "wall time")],
)
def test_a_reached_limit_is_named(wall_s: float, gpu_s: float, words: str) -> None:
    assert words in (budget_reached(LIMITS, wall_s, gpu_s) or "")


def test_below_both_limits() -> None:
    assert budget_reached(LIMITS, 7199.9, 5399.9) is None


def test_zero_is_a_limit() -> None:
    assert budget_reached(BudgetSpec.model_construct(gpu_hours=0), 0, 0) is not None


@pytest.mark.parametrize(
    ("setting", "longest", "timeout"),
    [("auto", None, 1800), ("auto", 10, 1800), ("auto", 1000, 5000), (12, 1000, 12), (0.5, None, 0.5)],
)
def test_report_timeout(setting: float | str, longest: float | None, timeout: float) -> None:
    assert report_timeout(setting, longest) == timeout  # type: ignore[arg-type]
