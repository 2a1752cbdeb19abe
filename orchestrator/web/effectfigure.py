"""The figure of effects as they come: every Δ with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.palette import VERDICTS, colour, hollow
from orchestrator.reporting.words import interval_name
from orchestrator.stats.results import EQUIVALENT, Effect
from orchestrator.web.figures import Figure, figure, labels, line_at, number, numbers, text, uid

MOST_EFFECTS = 40
"""Those with the largest Δ; the table has all."""


def effect_figure(
    report: StudyReport, evaluation: ReportedEvaluation, wanted: Callable[[str], bool] | None = None
) -> Figure:
    """Return the forest of effects that have a Δ, the largest first. `wanted`: whether an arm is shown."""
    ordered = report.ordered(evaluation.all_effects)
    named = [one for one in ordered if wanted is None or wanted(one.arm)]
    there = [one for one in named if number(one.delta) is not None]
    if not there:
        return figure([], {}, "No arm has a Δ yet.")
    shown = there[:MOST_EFFECTS]
    names = labels(report.called(one) for one in shown)
    by_verdict: dict[str, list[tuple[str, Effect]]] = {}
    for name, one in zip(names, shown, strict=True):
        by_verdict.setdefault(one.verdict, []).append((name, one))
    shapes = [line_at(0, "var(--ink)", "solid")]
    words = f"Points: Δ {report.metric}. Bars: {interval_name(report)} of each arm alone."
    if report.margin is not None:
        band = {"x0": -report.margin, "x1": report.margin, "y0": 0, "y1": 1, "yref": "paper"}
        look = {"fillcolor": VERDICTS[EQUIVALENT], "opacity": 0.14, "line": {"width": 0}, "layer": "below"}
        shapes.append({"type": "rect", **band, **look})
        words += f" Shaded: ±{report.margin:g}, what counts as practically equivalent."
    if len(there) > len(shown):
        words += f" These are the {len(shown)} largest of {len(there)}."
    layout = {
        "height": 130 + 24 * len(shown),
        "xaxis": {"title": {"text": f"Δ {text(report.metric)}"}, "zeroline": False, "range": _range(shown)},
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "autorange": "reversed",
            "dtick": 1,
        },
        "shapes": shapes,
        "hovermode": "closest",
    }
    return figure([_trace(verdict, rows) for verdict, rows in by_verdict.items()], layout, words)


def _trace(verdict: str, rows: Sequence[tuple[str, Effect]]) -> Figure:
    """Return the effects of one verdict, which the legend names."""
    effects = [one for _, one in rows]
    shade = colour(effects[0])
    spans = [_span(one) for one in effects]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": text(verdict),
        "uid": uid(verdict),
        "x": numbers(one.delta for one in effects),
        "y": [name for name, _ in rows],
        "text": ["<br>".join(_lines(one)) for one in effects],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": shade,
            "size": 9,
            "symbol": ["diamond" if one.kind == "interaction" else "circle" for one in effects]
            if not hollow(effects[0])
            else "circle-open",
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [up for _, up in spans],
            "arrayminus": [down for down, _ in spans],
            "color": shade,
            "thickness": 2,
            "width": 0,
        },
        "showlegend": True,
    }


def _range(effects: Sequence[Effect]) -> list[float]:
    """Return the part of the axis that is shown at first: every interval and zero, none at the edge."""
    ends = [0.0]
    for one in effects:
        (down, up), delta = _span(one), one.delta or 0.0
        ends += [delta - down, delta + up]
    low, high = min(ends), max(ends)
    edge = 0.06 * (high - low) or 1.0
    return [low - edge, high + edge]


def _span(effect: Effect) -> tuple[float, float]:
    """Return how far the interval reaches to both sides of Δ; nothing where there is none."""
    if effect.delta is None or effect.lo is None or effect.hi is None:
        return 0.0, 0.0
    return number(effect.delta - effect.lo) or 0.0, number(effect.hi - effect.delta) or 0.0


def _lines(effect: Effect) -> list[str]:
    between = "" if effect.lo is None or effect.hi is None else f" [{effect.lo:.5g}, {effect.hi:.5g}]"
    seeds = f"{effect.n} seed{'' if effect.n == 1 else 's'}"
    flags = "; ".join((effect.verdict, *effect.flags))
    return [text(effect.arm), f"Δ {effect.delta:.5g}{between}", f"from {seeds}", text(flags, 160)]
