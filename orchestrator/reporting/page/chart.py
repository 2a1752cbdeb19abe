"""The figures of the page as Plotly documents: plain data, the page brings the colours of text and grid.

A chart is `{"data": traces, "layout": ..., "height": px, "width": least px, "title": ..., "note": ...}`. The
`customdata` of a point is the directory that a click on it opens, relative to the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.reporting import numbers, palette
from orchestrator.reporting.model import StudyReport

Chart = dict[str, Any]


def chart(
    data: list[dict[str, Any]],
    layout: dict[str, Any],
    *,
    title: str,
    note: str,
    height: float,
    width: float = 0,
) -> Chart:
    base = {"margin": {"l": 10, "r": 14, "t": 14, "b": 60}, "hovermode": "closest", "showlegend": False}
    chart = {"data": data, "layout": base | layout, "title": title, "note": note}
    return {**chart, "height": round(height), "width": round(width)}


def scatter(mode: str, **settings: Any) -> dict[str, Any]:
    return {"type": "scatter", "mode": mode, **settings}


ABOVE = {"showlegend": True, "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0}}
BELOW = {"showlegend": True, "legend": {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0}}
"""Parts of a layout: where the legend stands."""


def rows(names: Sequence[str], **settings: Any) -> tuple[list[int], dict[str, Any]]:
    """Return the places of rows, the first at the top, and the axis that names them."""
    places = list(range(len(names), 0, -1))
    labels = [plain(palette.short(name, 22)) for name in names]
    ends = [0.4, len(names) + 0.6]
    return places, axis(tickvals=places, ticktext=labels, range=ends, fixedrange=True, **settings)


def axis(title: str = "", **settings: Any) -> dict[str, Any]:
    # 2e-7, not 200n: metrics are numbers, not quantities with a unit
    plain_numbers = {"zeroline": False, "exponentformat": "e"}
    return {"title": {"text": title}, "automargin": True, **plain_numbers, **settings}


def metric(report: StudyReport) -> str:
    return plain(palette.short(report.metric)) + report.scale.in_brackets


def plain(text: str) -> str:
    """Text that Plotly, which knows some HTML, shows as it is."""
    clean = numbers.one_line(text, 400)
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def folder(path: str) -> str:
    """Return a directory below the study's as a relative link."""
    return f"{quote(path)}/"


def trials(report: StudyReport, name: str) -> str:
    """Return the link to the trials of an arm."""
    return folder(next(arm.trial_dir for arm in report.all_arms if arm.arm == name))


def number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
