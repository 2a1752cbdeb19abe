"""Charts of the course and the cost: Δ over rungs, learning curves, variance, ledger."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.report import numbers, palette, words
from orchestrator.report.ledger import in_grid
from orchestrator.report.model import Curve, ReportedEvaluation, StudyReport
from orchestrator.report.page.chart import (
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
)

_SHOWN = 7  # arms whose learning curves are drawn at first; the others wait in the legend


def deltas(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    if not evaluation.deltas:
        return None
    scale = numbers.scale_of(report)
    traces: list[dict[str, Any]] = []
    for index, found in enumerate(evaluation.deltas):
        colour = palette.series(index)
        ys = [value * scale.factor for value in found.delta]
        arm = report.arm(found.arm)
        where = folder(arm.trial_dir) if arm else "trials/"
        crosses = " (crosses)" if found.crossings else ""
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": list(found.lengths),
                "y": ys,
                "name": plain(palette.short(found.arm, 28)) + crosses,
                "legendgroup": found.arm,
                "line": {"color": colour, "width": 1.8},
                "customdata": [where] * len(ys),
                "text": [f"n = {n}" for n in found.n],
                "hovertemplate": f"{plain(found.arm)} at %{{x}}: %{{y:.4g}}, %{{text}}<extra></extra>",
            }
        )
        if found.crossings:
            after = [crossing.after for crossing in found.crossings]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": after,
                    "legendgroup": found.arm,
                    "showlegend": False,
                    "y": [ys[found.lengths.index(length)] for length in after],
                    "name": f"{plain(found.arm)}: crossings",
                    "marker": {"symbol": "circle-open", "size": 17, "color": colour, "line": {"width": 2}},
                    "text": [
                        f"sign changes between {c.before:g} and {c.after:g}, n = {c.n}"
                        for c in found.crossings
                    ],
                    "hovertemplate": f"{plain(found.arm)}: %{{text}}<extra></extra>",
                }
            )
    lengths = sorted({length for found in evaluation.deltas for length in found.lengths})
    log = {"type": "log"} if lengths[0] > 0 and len(lengths) > 1 else {}
    layout = {
        "xaxis": axis(report.unit, tickvals=lengths, ticktext=[f"{length:g}" for length in lengths], **log),
        "yaxis": axis(f"Δ {metric(report, scale)}"),
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
        arm = report.arm(curve.arm)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(curve.mean) == 1 else "lines",
                "name": plain(palette.short(curve.arm, 28)),
                "x": list(curve.lengths),
                "y": list(curve.mean),
                "line": {"color": colour, "width": 3 if reference else 1.8},
                "text": [f"n = {n}" for n in curve.n],
                "customdata": [folder(arm.trial_dir) if arm else None] * len(curve.mean),
                "hovertemplate": f"{plain(curve.arm)} at %{{x}}: %{{y:.4g}}, %{{text}}<extra></extra>",
                **shown,
            }
        )
        traces += _band(curve, colour, shown)
    layout = {
        "xaxis": axis(report.unit),
        "yaxis": axis(plain(palette.short(report.metric))),
        **BELOW,
    }
    waiting = len(evaluation.curves) - _SHOWN - 1
    more = f" {words.count(waiting, 'arm')} more: click their names." if waiting > 0 else ""
    note = f"Mean over seeds, band ±1 SD over seeds.{more}"
    return chart(traces, layout, title="Learning curves", note=note, height=420 + 11 * len(evaluation.curves))


def _band(curve: Curve, colour: str, shown: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a closed outline around mean ± SD, where there are two seeds or more."""
    ends = [
        (x, lo, hi) for x, lo, hi in zip(curve.lengths, curve.lo, curve.hi, strict=True) if lo is not None
    ]
    if not ends:
        return []
    xs = [x for x, _, _ in ends]
    outline = [hi for _, _, hi in ends] + [lo for _, lo, _ in reversed(ends)]
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "fill": "toself",
            "x": xs + xs[::-1],
            "y": outline,
            "fillcolor": f"rgba({red},{green},{blue},0.16)",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "name": f"{plain(curve.arm)}: ±1 SD",
            **shown,
        }
    ]


def variance(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    scale = numbers.scale_of(report)
    samples = [sample for sample in evaluation.samples.values() if sample.sd is not None]
    if not samples:
        return None
    paired = {effect.arm: effect.sd for effect in evaluation.effects if effect.sd is not None}
    places, named = rows([sample.arm for sample in samples])
    arms = [report.arm(sample.arm) for sample in samples]
    links = [folder(arm.trial_dir) if arm else None for arm in arms]
    halves = [paired[s.arm] / math.sqrt(2) * scale.factor if s.arm in paired else None for s in samples]
    common = {
        "type": "scatter",
        "mode": "markers",
        "y": places,
        "customdata": links,
        "text": named["ticktext"],
    }
    traces: list[dict[str, Any]] = [
        {
            **common,
            "x": [number((sample.sd or 0.0) * scale.factor) for sample in samples],
            "name": "SD over seeds",
            "marker": {"size": 10, "color": palette.series(0)},
            "hovertemplate": "%{text}: %{x:.4g}<extra>SD over seeds</extra>",
        },
    ]
    if not report.averaged:
        traces.append(
            {
                **common,
                "x": [number(half) for half in halves],
                "name": "SD of paired differences / √2",
                "marker": {"size": 9, "color": palette.series(1), "symbol": "diamond-open"},
                "hovertemplate": "%{text}: %{x:.4g}<extra>SD of differences / √2</extra>",
            }
        )
    layout = {
        "xaxis": axis(metric(report, scale), rangemode="tozero"),
        "yaxis": named,
        **ABOVE,
    }
    line = words.pairing_line(report, evaluation) or "what pairing by seed was worth cannot be measured"
    helps = "" if report.averaged else " Where the diamond is left of the dot, pairing helps."
    note = f"{line[0].upper()}{line[1:]}.{helps}"
    return chart(traces, layout, title="Variance", note=note, height=120 + 26 * len(samples))


def ledger(report: StudyReport) -> Chart:
    """Return what every arm trained, by what its runs ended as, against the grid."""
    arms = list(report.all_arms)
    places, named = rows([arm.arm for arm in arms], showgrid=False)
    traces: list[dict[str, Any]] = []
    for state in TrialState:
        spent, seconds = [], []
        for arm in arms:
            entries = [entry for entry in report.ledger.of_arm(arm.arm) if entry.state is state]
            spent.append(math.fsum(entry.spent for entry in entries))
            seconds.append(numbers.duration(math.fsum(entry.wall_s for entry in entries)))
        if any(spent):
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": str(state),
                    "x": spent,
                    "y": places,
                    "text": seconds,
                    "textposition": "none",
                    "marker": {"color": palette.STATES[state]},
                    "customdata": [folder(arm.trial_dir) for arm in arms],
                    "hovertemplate": f"{state}: %{{x:g}} {report.unit}, %{{text}}<extra></extra>",
                }
            )
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "the grid",
            "x": [in_grid(report, arm) for arm in arms],
            "y": places,
            "marker": {
                "symbol": "line-ns-open",
                "size": 16,
                "color": palette.NEUTRAL,
                "line": {"width": 2.5},
            },
            "hovertemplate": f"the grid: %{{x:g}} {report.unit}<extra></extra>",
        }
    )
    layout = {
        "barmode": "stack",
        "bargap": 0.3,
        "xaxis": axis(f"trained ({report.unit})", rangemode="tozero"),
        "yaxis": named,
        **ABOVE,
    }
    note = f"{words.cost_line(report)}."
    return chart(traces, layout, title="Cost", note=note, height=120 + 26 * len(arms))
