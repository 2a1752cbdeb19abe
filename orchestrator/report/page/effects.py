"""Charts of effects: forest plot, seed by seed, interactions."""

from __future__ import annotations

from typing import Any

from orchestrator.report import numbers, palette, words
from orchestrator.report.compare import pairs
from orchestrator.report.markdown import folder_of
from orchestrator.report.model import ReportedEvaluation, StudyReport
from orchestrator.report.page.chart import ABOVE, Chart, axis, chart, folder, metric, number, plain
from orchestrator.stats.results import RESOLVED, Effect


def forest(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    effects = evaluation.all_effects
    if all(effect.delta is None for effect in effects):
        return None
    scale = numbers.scale_of(report)
    traces = [
        _interval(report, evaluation, effect, len(effects) - index, scale)
        for index, effect in enumerate(effects)
    ]
    left = {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "yshift": 15,
        "showarrow": False,
        "font": {"size": 12},
    }
    labels = [
        {**left, "y": len(effects) - index, "text": _label(report, evaluation, effect)}
        for index, effect in enumerate(effects)
    ]
    whole = {"yref": "paper", "y0": 0, "y1": 1}
    shapes: list[dict[str, Any]] = [{"type": "line", "x0": 0, "x1": 0, **whole, "name": "zero"}]
    if report.margin is not None:
        band = report.margin * scale.factor
        look = {"layer": "below", "fillcolor": "rgba(10,143,108,0.14)", "line": {"width": 0}}
        shapes.append({"type": "rect", "x0": -band, "x1": band, **whole, **look, "name": "margin"})
    layout = {
        "xaxis": axis(f"Δ {metric(report, scale)}"),
        "yaxis": axis(visible=False, range=[0.4, len(effects) + 0.95], fixedrange=True),
        "annotations": labels,
        "shapes": shapes,
    }
    shaded = "" if report.margin is None else f" Shaded: ±{scale.amount(report.margin)}."
    rung = " Hollow: rung-only." if any(palette.hollow(effect) for effect in effects) else ""
    joint = ""
    if evaluation.interactions:
        interval = words.interval_name(report, "interaction")
        joint = f" Diamond: interaction, beyond the sum of both, {interval}."
    what = f"Δ with its {words.interval_name(report)}; n: seeds in it, of those planned"
    note = f"{what}. The table above has width and cost.{joint}{shaded}{rung}"
    return chart(traces, layout, title="Forest plot", note=note, height=96 + 46 * len(effects))


def _label(report: StudyReport, evaluation: ReportedEvaluation, effect: Effect) -> str:
    """Name and n, as they stand above the interval."""
    planned = len({run.seed for run in report.behind(effect, evaluation.phase)})
    return f"{plain(palette.label(effect, 38))}, n = {effect.n}/{planned}"


def _interval(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, place: int, scale: numbers.Scale
) -> dict[str, Any]:
    delta = None if effect.delta is None else effect.delta * scale.factor
    colour = palette.colour(effect)
    shape = "diamond" if effect.kind == "interaction" else "circle"
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": plain(effect.arm),
        "x": [number(delta)],
        "y": [place],
        "mode": "markers",
        "marker": {
            "color": colour,
            "size": 9,
            "symbol": f"{shape}-open" if palette.hollow(effect) else shape,
        },
        "customdata": [folder(folder_of(report, effect))],
        "hovertemplate": f"{_hover(report, evaluation, effect, scale)}<extra></extra>",
    }
    if delta is not None and effect.lo is not None and effect.hi is not None:
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            "thickness": 2.5,
            "width": 0,
            "color": colour,
            "array": [number(effect.hi * scale.factor - delta)],
            "arrayminus": [number(delta - effect.lo * scale.factor)],
        }
    return trace


def _hover(report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: numbers.Scale) -> str:
    lines = [
        f"<b>{plain(effect.arm)}</b>",
        f"Δ {numbers.delta(effect, scale)} {numbers.interval(effect, scale)}",
        f"n = {effect.n}, Holm p {plain(numbers.equals(effect.p_holm))}",
        plain(words.verdict(report, evaluation, effect, scale)),
    ]
    return "<br>".join(lines)


def seeds(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    found = [(effect, pairs(report, evaluation, effect)) for effect in evaluation.effects]
    found = [(effect, values) for effect, values in found if values]
    if not found:
        return None
    folders = {
        (arm.arm, run.seed): folder(run.trial_dir)
        for arm in report.all_arms
        for run in arm.of(evaluation.phase)
    }
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
        colour = palette.series(index)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"seed {seed}",
                "x": xs,
                "y": ys,
                "customdata": links,
                "line": {"color": colour, "width": 1.6},
                "marker": {"size": 6},
                "hovertemplate": f"seed {seed}: %{{y}}<extra></extra>",
            }
        )
    names = [plain(palette.short(effect.arm, 22)) for effect, _ in found]
    layout = {
        "xaxis": axis(
            tickvals=list(range(len(found))), ticktext=names, range=[-0.6, len(found) - 0.4], showgrid=False
        ),
        "yaxis": axis(plain(palette.short(report.metric))),
        **ABOVE,
    }
    note = f"From {plain(report.reference.arm)} (left) to the arm (right), one line per seed."
    return chart(traces, layout, title="Seed by seed", note=note, height=430, width=90 + 58 * len(found))


def interactions(report: StudyReport, evaluation: ReportedEvaluation) -> Chart | None:
    cells = words.by_pair(evaluation)
    if not cells:
        return None
    scale = numbers.scale_of(report)
    names = list(dict.fromkeys(name for pair in cells for name in pair))
    z: list[list[float | None]] = [[None] * len(names) for _ in names]
    text = [[""] * len(names) for _ in names]
    links: list[list[str | None]] = [[None] * len(names) for _ in names]
    for (a, b), effect in cells.items():
        said = numbers.delta(effect, scale)
        said = f"<b>{said}</b>" if effect.verdict in RESOLVED else said
        for row, column in ((names.index(a), names.index(b)), (names.index(b), names.index(a))):
            z[row][column] = number((effect.delta or 0.0) * scale.factor)
            text[row][column] = said
            links[row][column] = folder(folder_of(report, effect))
    most = max((abs(value) for line in z for value in line if value is not None), default=0.0) or 1.0
    labels = [plain(palette.short(name, 16)) for name in names]
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
