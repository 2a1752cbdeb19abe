"""Charts of effects: forest plot, seed by seed, interactions."""

from __future__ import annotations

from typing import Any

from orchestrator.reporting import numbers, palette, words
from orchestrator.reporting.compare import pairs
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.page.chart import (
    ABOVE,
    Chart,
    axis,
    chart,
    folder,
    metric,
    number,
    plain,
    scatter,
)
from orchestrator.reporting.said import SaidEffect, by_pair, said
from orchestrator.stats.results import RESOLVED


def forest(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    effects = said(report, evaluation, evaluation.all_effects)
    if all(one.effect.delta is None for one in effects):
        return None
    count = len(effects)
    left = {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "yshift": 15,
        "showarrow": False,
        "font": {"size": 12},
    }
    whole = {"yref": "paper", "y0": 0, "y1": 1}
    shapes: list[dict[str, Any]] = [{"type": "line", "x0": 0, "x1": 0, **whole, "name": "zero"}]
    shaded = ""
    if report.margin is not None:
        band = report.margin * report.scale.factor
        look = {"layer": "below", "fillcolor": "rgba(10,143,108,0.14)", "line": {"width": 0}}
        shapes.append({"type": "rect", "x0": -band, "x1": band, **whole, **look, "name": "margin"})
        shaded = f" Shaded: ±{report.scale.amount(report.margin)}."
    layout = {
        "xaxis": axis(f"Δ {metric(report)}"),
        "yaxis": axis(visible=False, range=[0.4, count + 0.95], fixedrange=True),
        "annotations": [{**left, "y": count - at, "text": _label(one)} for at, one in enumerate(effects)],
        "shapes": shapes,
    }
    rung = " Hollow: rung-only." if any(palette.hollow(one.effect) for one in effects) else ""
    joint = ""
    if evaluation.interactions:
        interval = words.interval_name(report, "interaction")
        joint = f" Diamond: interaction, beyond the sum of both, {interval}."
    what = f"Δ with its {words.interval_name(report)}; n: seeds in it, of those planned"
    note = f"{what}. The table above has width and cost.{joint}{shaded}{rung}"
    traces = [_interval(one, count - at) for at, one in enumerate(effects)]
    return chart(traces, layout, title="Forest plot", note=note, height=96 + 46 * count)


def _label(one: SaidEffect) -> str:
    """Name and n, as they stand above the interval."""
    return f"{plain(palette.label(one.effect, one.name, 38))}, n = {one.effect.n}/{one.planned}"


def _interval(one: SaidEffect, place: int) -> dict[str, Any]:
    effect, factor = one.effect, one.scale.factor
    delta = None if effect.delta is None else effect.delta * factor
    colour = palette.colour(effect)
    shape = "diamond" if effect.kind == "interaction" else "circle"
    symbol = f"{shape}-open" if palette.hollow(effect) else shape
    name, p = plain(one.name), plain(numbers.equals(effect.p_holm))
    lines = (f"<b>{name}</b>", f"Δ {one.delta} {one.interval}", f"n = {effect.n}, Holm p {p}")
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": name,
        "x": [number(delta)],
        "y": [place],
        "mode": "markers",
        "marker": {"color": colour, "size": 9, "symbol": symbol},
        "customdata": [folder(one.folder)],
        "hovertemplate": f"{'<br>'.join([*lines, plain(one.verdict)])}<extra></extra>",
    }
    if delta is not None and effect.lo is not None and effect.hi is not None:
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            "thickness": 2.5,
            "width": 0,
            "color": colour,
            "array": [number(effect.hi * factor - delta)],
            "arrayminus": [number(delta - effect.lo * factor)],
        }
    return trace


def seeds(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    ordered = report.ordered(evaluation.effects)
    found = [(effect, pairs(report, evaluation, effect)) for effect in ordered]
    found = [(effect, values) for effect, values in found if values]
    if not found:
        return None
    runs = (run for arm in report.all_arms for run in arm.of(evaluation.phase))
    folders = {(run.arm, run.seed): folder(run.trial_dir) for run in runs}
    traces = []
    for index, seed in enumerate(sorted({seed for _, values in found for seed in values})):
        xs: list[float | None] = []
        ys: list[float | None] = []
        links: list[str | None] = []
        for place, (effect, values) in enumerate(found):
            if seed in values:
                xs += [place - 0.2, place + 0.2, None]
                ys += [*values[seed], None]
                links += [folders[effect.reference, seed], folders[effect.arm, seed], None]
        trace = scatter(
            "lines+markers",
            name=f"seed {seed}",
            x=xs,
            y=ys,
            customdata=links,
            line={"color": palette.series(index), "width": 1.6},
            marker={"size": 6},
            hovertemplate=f"seed {seed}: %{{y}}<extra></extra>",
        )
        traces.append(trace)
    names = [plain(palette.short(report.called(effect), 22)) for effect, _ in found]
    places, ends = list(range(len(found))), [-0.6, len(found) - 0.4]
    layout = {
        "xaxis": axis(tickvals=places, ticktext=names, range=ends, showgrid=False),
        "yaxis": axis(plain(palette.short(report.metric))),
        **ABOVE,
    }
    note = f"From {plain(report.reference.arm)} (left) to the arm (right), one line per seed."
    return chart(traces, layout, title="Seed by seed", note=note, height=430, width=90 + 58 * len(found))


def interactions(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    names, places = by_pair(evaluation)
    if not places:
        return None
    z: list[list[float | None]] = [[None] * len(names) for _ in names]
    text = [[""] * len(names) for _ in names]
    links: list[list[str | None]] = [[None] * len(names) for _ in names]
    for row, column, effect in places:
        delta = report.scale.delta(effect.delta)
        z[row][column] = number((effect.delta or 0.0) * report.scale.factor)
        text[row][column] = f"<b>{delta}</b>" if effect.verdict in RESOLVED else delta
        links[row][column] = folder(report.folder_of(effect))
    most = max((abs(value) for line in z for value in line if value is not None), default=0.0) or 1.0
    labels = [plain(palette.short(report.labels.get(name, name), 16)) for name in names]
    trace = {
        "type": "heatmap",
        "z": z,
        "x": labels,
        "y": labels,
        "text": text,
        "texttemplate": "%{text}",
        "customdata": links,
        "colorscale": [[0, "#c8501e"], [0.5, "#f4f4f4"], [1, "#0f74b3"]],
        "zmin": -most,
        "zmax": most,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y} and %{x}: %{text}<extra></extra>",
        "hoverongaps": False,
        "colorbar": {"thickness": 10, "outlinewidth": 0},
    }
    layout = {"xaxis": axis(showgrid=False), "yaxis": axis(autorange="reversed", showgrid=False)}
    note = "What taking both away does beyond the sum of both. Bold: resolved."
    height, width = 150 + 54 * len(names), 170 + 64 * len(names)
    return chart([trace], layout, title="Interactions", note=note, height=height, width=width)
