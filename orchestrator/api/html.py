"""What a study would run, for a notebook: the words of `orchestrate plan`."""

from __future__ import annotations

from orchestrator.api import describe
from orchestrator.api.forecasting import Forecast
from orchestrator.reporting import fragments


def forecast_html(found: Forecast) -> str:
    """Arms with their differences, then what the study runs and takes."""
    headings = ("arm", f"difference from {found.plan.reference}", "why")
    return fragments.block(
        fragments.table(headings, describe.differences(found.plan)),
        fragments.facts(describe.lines(found)),
    )
