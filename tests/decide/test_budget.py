from __future__ import annotations

from dataclasses import dataclass

import pytest

from orchestrator.decide.budget import budget_left, report_timeout


@dataclass
class Limits:
    gpu_hours: float | None = None
    wall_s: float | None = None


def test_no_limit_is_never_reached() -> None:
    verdict = budget_left(Limits(), 1e12, 1e12)
    assert (verdict.exceeded, verdict.reason) == (False, None)


@pytest.mark.parametrize(
    ("wall_s", "gpu_s", "words"),
    [(7200, 0, "wall time 7200 s of 7200 s"), (0, 5400, "1.5 of 1.5 GPU-hours"), (9000, 6000, "wall time")],
)
def test_a_reached_limit_is_named(wall_s: float, gpu_s: float, words: str) -> None:
    verdict = budget_left(Limits(gpu_hours=1.5, wall_s=7200), wall_s, gpu_s)
    assert verdict.exceeded
    assert verdict.reason is not None
    assert words in verdict.reason


def test_below_both_limits() -> None:
    assert not budget_left(Limits(gpu_hours=1.5, wall_s=7200), 7199.9, 5399.9).exceeded


def test_zero_is_a_limit() -> None:
    assert budget_left(Limits(gpu_hours=0), 0, 0).exceeded


@pytest.mark.parametrize(
    ("setting", "longest", "timeout"),
    [("auto", None, 1800), ("auto", 10, 1800), ("auto", 1000, 5000), (12, 1000, 12), (0.5, None, 0.5)],
)
def test_report_timeout(setting: float | str, longest: float | None, timeout: float) -> None:
    assert report_timeout(setting, longest) == timeout  # type: ignore[arg-type]
