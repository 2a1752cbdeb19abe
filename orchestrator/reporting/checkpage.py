"""`check.html`: the gates with their evidence, one file that opens offline."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.reporting import palette
from orchestrator.reporting.numbers import quantity
from orchestrator.reporting.pagetemplate import page_template
from orchestrator.training.gates.results import CheckReport, EvidenceCurve

WIDTH, HEIGHT, MARGIN = 560, 200, 46


def to_html(report: CheckReport, title: str = "check") -> str:
    """Return the page; `title` is what was asked. Needs jinja2, of the extra [report]."""
    counts = {
        state: sum(gate.state == state for gate in report.gates) for state in ("pass", "fail", "skipped")
    }
    return page_template("check.html.j2").render(
        report=report,
        title=title,
        counts=counts,
        colours=COLOURS,
        time=quantity(round(report.wall_s), "seconds"),
        drawn={
            gate.gate: [drawn(curve) for curve in gate.verdict.curves if len(curve.points) > 1]
            for gate in report.gates
        },
    )


COLOURS = {"pass": "#0a8f6c", "fail": "#c8501e", "skipped": palette.NEUTRAL}


def drawn(curve: EvidenceCurve) -> dict[str, Any]:
    """Return curve in the coordinates of an SVG of WIDTH × HEIGHT: path, mark, and the ends of both axes."""
    xs = [math.log10(x) if curve.log_x else x for x, _ in curve.points]
    ys = [y for _, y in curve.points]
    low, high = min(ys), max(ys)
    across = _scale(min(xs), max(xs), MARGIN, WIDTH - 12)
    down = _scale(low, high, HEIGHT - 28, 10)
    path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in zip(xs, ys, strict=True))
    mark = None
    if curve.mark is not None:
        mark = f"{across(math.log10(curve.mark) if curve.log_x else curve.mark):.1f}"
    first, last = curve.points[0][0], curve.points[-1][0]
    ends = {"left": f"{first:.3g}", "right": f"{last:.3g}", "low": f"{low:.3g}", "high": f"{high:.3g}"}
    return {"curve": curve, "path": path, "mark": mark, **ends, "width": WIDTH, "height": HEIGHT}


def _scale(low: float, high: float, start: float, end: float) -> Any:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)
