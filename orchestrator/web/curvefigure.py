"""The figure of learning curves: mean over the seeds, and a band from the lowest to the highest of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.reporting.curves import Points
from orchestrator.reporting.palette import NEUTRAL, series
from orchestrator.web.figures import Figure, faint, figure, line_at, numbers, text, uid

MOST_ARMS = 8
"""Beside the reference."""
MOST_POINTS = 500
"""Of one curve as it is drawn."""
WEIGHTS = (0.0, 0.6, 0.9, 0.97)
"""Of smoothing, as the page offers it."""


@dataclass(frozen=True)
class DrawnCurve:
    """One arm: at each length mean, lowest and highest over the `n` seeds that came there."""

    lengths: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: tuple[int, ...]


@dataclass(frozen=True)
class Axes:
    """What is drawn. `rungs`: where the rule compares; `weight`: of smoothing; `log`: of the values."""

    metric: str
    unit: str
    rungs: tuple[float, ...] = ()
    weight: float = 0.0
    log: bool = False


def chosen(arms: Sequence[str], delta: Mapping[str, float], running: set[str], first: str = "") -> list[str]:
    """Return at most `MOST_ARMS` arms, in the order in which they came.

    Those with the largest |Δ|, then those that run, then the first; with `first` "running" those that run.
    """

    def place(arm: str) -> tuple[bool, float, bool]:
        return (first == "running" and arm not in running, -abs(delta.get(arm, 0.0)), arm not in running)

    best = set(sorted(arms, key=place)[:MOST_ARMS])
    return [arm for arm in arms if arm in best]


def smoothed(points: Points, weight: float) -> dict[float, float]:
    """Return the exponential moving average that TensorBoard draws: corrected for its start at zero."""
    if not weight:
        return dict(points)
    found, last = {}, 0.0
    for number, (length, value) in enumerate(points.items(), start=1):
        last = last * weight + (1 - weight) * value
        found[length] = last / (1 - weight**number)
    return found


def drawn(runs: Sequence[Points], weight: float = 0.0) -> DrawnCurve:
    """Return the curve of some runs, each smoothed by itself; of many points every so many, and the last."""
    columns: dict[float, list[float]] = {}
    for run in runs:
        for length, value in smoothed(run, weight).items():
            columns.setdefault(length, []).append(value)
    every = sorted(columns)
    step = max(1, math.ceil(len(every) / MOST_POINTS))
    lengths = sorted({*every[::step], *every[-1:]})
    values = [columns[length] for length in lengths]
    return DrawnCurve(
        tuple(lengths),
        tuple(sum(column) / len(column) for column in values),
        tuple(map(min, values)),
        tuple(map(max, values)),
        tuple(map(len, values)),
    )


def curve_figure(curves: Mapping[str, DrawnCurve], reference: str, axes: Axes) -> Figure:
    """Return the figure. `curves`: by arm, the reference's first; those without a point are left out."""
    there = {arm: curve for arm, curve in curves.items() if curve.lengths}
    if not there:
        return figure([], {}, "No trial of these arms has reported anything yet.")
    others = iter(range(len(there)))
    data: list[Figure] = []
    for arm, curve in there.items():
        colour = NEUTRAL if arm == reference else series(next(others))
        data += _traces(arm, curve, colour, reference=arm == reference, log=axes.log)
    scale = {"type": "log"} if axes.log else {}
    layout = {
        "height": 430,
        "xaxis": {"title": {"text": text(axes.unit)}},
        "yaxis": {"title": {"text": text(axes.metric)}, **scale},
        "shapes": [line_at(rung) for rung in axes.rungs],
        "hovermode": "closest",
    }
    return figure(data, layout, _words(there, axes))


def _traces(arm: str, curve: DrawnCurve, colour: str, *, reference: bool, log: bool) -> list[Figure]:
    """Return band and line. Values that a logarithm does not have are left out."""
    name, group = text(arm), uid(arm)
    rows = list(zip(curve.lengths, curve.low, curve.high, curve.n, strict=True))
    held = [
        list(part)
        for wide, part in groupby(rows, lambda row: row[3] > 1 and not (log and row[1] <= 0))
        if wide
    ]
    x: list[float | None] = []
    y: list[float | None] = []
    for part in held:
        x += [*(row[0] for row in part), *(row[0] for row in reversed(part)), None]
        y += [*(row[1] for row in part), *(row[2] for row in reversed(part)), None]
    common = {"type": "scatter", "mode": "lines", "legendgroup": group, "name": name}
    band = {
        **common,
        "uid": uid(arm, "band"),
        "x": numbers(x),
        "y": numbers(y),
        "fill": "toself",
        "fillcolor": faint(colour),
        "line": {"width": 0, "color": colour},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    line = {
        **common,
        "uid": uid(arm, "line"),
        "x": numbers(curve.lengths),
        "y": numbers(None if log and value <= 0 else value for value in curve.mean),
        "customdata": list(curve.n),
        "text": name,
        "hovertemplate": "%{text}<br>%{x}: %{y}<br>seeds: %{customdata}<extra></extra>",
        "line": {"color": colour, "width": 3 if reference else 1.8},
        "showlegend": True,
    }
    if len(curve.lengths) == 1:
        line["mode"], line["marker"] = "markers", {"color": colour}
    return [*([band] if x else []), line]


def _words(curves: Mapping[str, DrawnCurve], axes: Axes) -> str:
    said = "Lines: mean over the seeds that came to each length. Bands: from the lowest to the highest seed."
    if axes.weight:
        said += f" Every run is smoothed first, with weight {axes.weight:g}, as in TensorBoard."
    if axes.rungs:
        said += " Dotted: rungs of the stopping rule."
    if any(len(curve.lengths) >= MOST_POINTS for curve in curves.values()):
        said += f" Of long curves about {MOST_POINTS} points are drawn."
    if axes.log and any(value <= 0 for curve in curves.values() for value in curve.low):
        said += " Values that are not above zero have no logarithm, and no place here."
    return said
