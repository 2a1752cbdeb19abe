"""Charts of the course and the cost: Δ over rungs, learning curves, variance, ledger."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.reporting import numbers, palette, words
from orchestrator.reporting.model import Curve, ReportedEvaluation, StudyReport
from orchestrator.reporting.page.chart import (
    ABOVE,
    BELOW,
    Chart,
    axis,
    chart,
    folder,
    metric,
    number,
    plain,
    rows,
    scatter,
    trials,
)
from orchestrator.reporting.said import spreads

_SHOWN = 7  # arms whose learning curves are drawn at first; the others wait in the legend


def deltas(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    if not evaluation.deltas:
        return None
    traces: list[dict[str, Any]] = []
    for index, found in enumerate(evaluation.deltas):
        colour = palette.series(index)
        ys = [value * report.curve_scale.factor for value in found.delta]
        crosses = " (crosses)" if found.crossings else ""
        line = scatter(
            "lines+markers",
            x=list(found.lengths),
            y=ys,
            name=plain(palette.short(found.arm, 28)) + crosses,
            legendgroup=found.arm,
            line={"color": colour, "width": 1.8},
            customdata=[trials(report, found.arm)] * len(ys),
            text=[f"n = {n}" for n in found.n],
            hovertemplate=f"{plain(found.arm)} at %{{x}}: %{{y:.4g}}, %{{text}}<extra></extra>",
        )
        traces.append(line)
        if found.crossings:
            after = [crossing.after for crossing in found.crossings]
            said = [f"sign changes between {c.before:g} and {c.after:g}, n = {c.n}" for c in found.crossings]
            rings = scatter(
                "markers",
                x=after,
                legendgroup=found.arm,
                showlegend=False,
                y=[ys[found.lengths.index(length)] for length in after],
                name=f"{plain(found.arm)}: crossings",
                marker={"symbol": "circle-open", "size": 17, "color": colour, "line": {"width": 2}},
                text=said,
                hovertemplate=f"{plain(found.arm)}: %{{text}}<extra></extra>",
            )
            traces.append(rings)
    lengths = sorted({length for found in evaluation.deltas for length in found.lengths})
    log = {"type": "log"} if lengths[0] > 0 and len(lengths) > 1 else {}
    layout = {
        "xaxis": axis(report.unit, tickvals=lengths, ticktext=[f"{length:g}" for length in lengths], **log),
        "yaxis": axis(f"Δ {plain(palette.short(report.followed))}{report.curve_scale.in_brackets}"),
        "shapes": [{"type": "line", "y0": 0, "y1": 0, "xref": "paper", "x0": 0, "x1": 1, "name": "zero"}],
        **BELOW,
    }
    note = "What a comparison would have said at each rung. Ring: the sign has changed, over the same seeds."
    return chart(traces, layout, title="Δ over rungs", note=note, height=400 + 11 * len(evaluation.deltas))


def curves(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    if not evaluation.curves:
        return None
    traces: list[dict[str, Any]] = []
    for index, curve in enumerate(evaluation.curves):
        reference = curve.arm == report.reference.arm
        colour = palette.NEUTRAL if reference else palette.series(index - 1)
        shown: dict[str, Any] = {"legendgroup": curve.arm}
        if index > _SHOWN:
            shown["visible"] = "legendonly"
        line = scatter(
            "lines+markers" if len(curve.mean) == 1 else "lines",
            name=plain(palette.short(curve.arm, 28)),
            x=list(curve.lengths),
            y=list(curve.mean),
            line={"color": colour, "width": 3 if reference else 1.8},
            text=[f"n = {n}" for n in curve.n],
            customdata=[trials(report, curve.arm)] * len(curve.mean),
            hovertemplate=f"{plain(curve.arm)} at %{{x}}: %{{y:.4g}}, %{{text}}<extra></extra>",
            **shown,
        )
        traces += [line, *_band(curve, colour, shown)]
    layout = {
        "xaxis": axis(report.unit),
        "yaxis": axis(plain(palette.short(report.followed))),
        **BELOW,
    }
    waiting = len(evaluation.curves) - _SHOWN - 1
    more = f" {words.count(waiting, 'arm')} more: click their names." if waiting > 0 else ""
    note = f"Mean over seeds, band ±1 SD over seeds.{more}"
    return chart(traces, layout, title="Learning curves", note=note, height=420 + 11 * len(evaluation.curves))


def _band(curve: Curve, colour: str, shown: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a closed outline around mean ± SD, where there are two seeds or more."""
    ends = curve.band
    if not ends:
        return []
    xs = [x for x, _, _ in ends]
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    outline = scatter(
        "lines",
        fill="toself",
        x=xs + xs[::-1],
        y=[hi for _, _, hi in ends] + [lo for _, lo, _ in reversed(ends)],
        fillcolor=f"rgba({red},{green},{blue},0.16)",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        name=f"{plain(curve.arm)}: ±1 SD",
        **shown,
    )
    return [outline]


def variance(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    found = spreads(report, evaluation)
    if not found:
        return None
    places, named = rows([arm for arm, _, _ in found])
    links = [trials(report, arm) for arm, _, _ in found]
    common: dict[str, Any] = {"y": places, "customdata": links, "text": named["ticktext"]}
    dots = scatter(
        "markers",
        **common,
        x=[number(sd) for _, sd, _ in found],
        name="SD over seeds",
        marker={"size": 10, "color": palette.series(0)},
        hovertemplate="%{text}: %{x:.4g}<extra>SD over seeds</extra>",
    )
    diamonds = scatter(
        "markers",
        **common,
        x=[number(half) for _, _, half in found],
        name="SD of paired differences / √2",
        marker={"size": 9, "color": palette.series(1), "symbol": "diamond-open"},
        hovertemplate="%{text}: %{x:.4g}<extra>SD of differences / √2</extra>",
    )
    layout = {"xaxis": axis(metric(report), rangemode="tozero"), "yaxis": named, **ABOVE}
    line = words.pairing_worth(report, evaluation)
    helps = "" if report.averaged else " Where the diamond is left of the dot, pairing helps."
    note = f"{line[0].upper()}{line[1:]}.{helps}"
    traces = [dots] if report.averaged else [dots, diamonds]
    return chart(traces, layout, title="Variance", note=note, height=120 + 26 * len(found))


def ledger(report: StudyReport) -> Chart:
    """Return what every arm trained, by what its runs ended as, against the grid."""
    arms = list(report.all_arms)
    places, named = rows([arm.arm for arm in arms], showgrid=False)
    traces: list[dict[str, Any]] = []
    for state in TrialState:
        entries = [[e for e in report.ledger.of_arm(arm.arm) if e.state is state] for arm in arms]
        spent = [math.fsum(entry.spent for entry in mine) for mine in entries]
        if any(spent):
            bar = {
                "type": "bar",
                "orientation": "h",
                "name": str(state),
                "x": spent,
                "y": places,
                "text": [numbers.duration(math.fsum(entry.wall_s for entry in mine)) for mine in entries],
                "textposition": "none",
                "marker": {"color": palette.STATES[state]},
                "customdata": [folder(arm.trial_dir) for arm in arms],
                "hovertemplate": f"{state}: %{{x:g}} {report.unit}, %{{text}}<extra></extra>",
            }
            traces.append(bar)
    line = {"symbol": "line-ns-open", "size": 16, "color": palette.NEUTRAL, "line": {"width": 2.5}}
    grid = scatter(
        "markers",
        name="the grid",
        x=[report.in_grid(arm) for arm in arms],
        y=places,
        marker=line,
        hovertemplate=f"the grid: %{{x:g}} {report.unit}<extra></extra>",
    )
    layout = {
        "barmode": "stack",
        "bargap": 0.3,
        "xaxis": axis(f"trained ({report.unit})", rangemode="tozero"),
        "yaxis": named,
        **ABOVE,
    }
    note = f"{words.cost_line(report)}."
    return chart([*traces, grid], layout, title="Cost", note=note, height=120 + 26 * len(arms))
