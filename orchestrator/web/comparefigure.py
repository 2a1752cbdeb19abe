"""Learning curves of several studies over each other, as a figure for the page. Pure but for the tables."""

from __future__ import annotations

import html
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from orchestrator.errors import OrchestratorError
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.curves import curve, curve_of
from orchestrator.reporting.model import Curve
from orchestrator.reporting.palette import series
from orchestrator.study.visible import shortened, visible
from orchestrator.web.sidebyside import Compared
from orchestrator.web.summary import Drawn

MOST_RUNS, MOST_POINTS, MOST_LETTERS = 50, 500, 80
"""Of an arm that are read, of a curve that are drawn, of a name that are written."""


@dataclass(frozen=True)
class StudyCurve:
    """The curve of an arm of a study. `place`: of the study among those compared; it tells the colour."""

    study: str
    place: int
    curve: Curve
    is_reference: bool


def curves_of(one: Compared, place: int, arm: str) -> list[StudyCurve]:
    """Return the curves of a study's reference and of one arm, of those that have reported anything."""
    found, curves = one.found, []
    reference = found.arms[0] if found.arms else ""
    for name in dict.fromkeys((reference, arm)):
        cells = [cell for cell in found.cells if cell.arm == name and cell.begun and cell.sample is None]
        runs = tuple(cell for cell in cells if cell.phase == cells[-1].phase)[:MOST_RUNS]
        drawn: Curve = one.kept.once(f"curve {name}", runs, partial(_read, one, name, runs))
        if drawn.lengths:
            curves.append(StudyCurve(one.name, place, drawn, name == reference))
    return curves


def _read(one: Compared, arm: str, runs: Sequence[TrialRecord]) -> Curve:
    read = []
    for cell in runs:
        with suppress(OrchestratorError, KeyError):  # a damaged table, a unit that is none: no curve
            trial = one.kept.run.trial_paths(cell)
            read.append(curve_of(one.kept.run.storage, trial, one.found.metric, one.found.unit))
    return curve(arm, [points for points in read if points])


def figure_of(curves: Sequence[StudyCurve], metric: str, unit: str) -> Drawn:
    """Return the figure: a colour for each study, its reference solid and the other arm dashed."""
    data = [trace for one in curves for trace in _traces(one)]
    layout: Drawn = {
        "uirevision": "compare",
        "showlegend": True,
        "xaxis": {"title": {"text": _text(unit)}},
        "yaxis": {"title": {"text": _text(metric)}},
    }
    if not data:
        nothing = {
            "text": "nothing has been reported yet",
            "showarrow": False,
            "xref": "paper",
            "yref": "paper",
        }
        layout["annotations"] = [{**nothing, "x": 0.5, "y": 0.5}]
    return {"data": data, "layout": layout}


def _traces(one: StudyCurve) -> list[Drawn]:
    """Return a line, and ±1 SD around it where two seeds came so far."""
    drawn, name = one.curve, f"{_text(one.study)}: {_text(one.curve.arm)}"
    step = max(1, -(-len(drawn.lengths) // MOST_POINTS))
    kept = sorted({*range(0, len(drawn.lengths), step), len(drawn.lengths) - 1})
    colour = series(one.place)
    common = {"type": "scatter", "mode": "lines", "legendgroup": f"{one.place} {one.is_reference}"}
    main: Drawn = {**common, "name": name, "hovertemplate": "%{x}: %{y:.5g}, n = %{customdata}"}
    main |= {"line": {"color": colour, "width": 2, "dash": "solid" if one.is_reference else "dash"}}
    main |= {"x": [drawn.lengths[place] for place in kept], "y": [drawn.mean[place] for place in kept]}
    main |= {"customdata": [drawn.n[place] for place in kept]}
    band = drawn.band[::step]
    if not band:
        return [main]
    ends = [(x, lo) for x, lo, _ in band] + [(x, hi) for x, _, hi in reversed(band)]
    shade: Drawn = {**common, "name": name, "showlegend": False, "hoverinfo": "skip"}
    shade |= {"fill": "toself", "fillcolor": f"{colour}22", "line": {"width": 0}}
    return [main, {**shade, "x": [end[0] for end in ends], "y": [end[1] for end in ends]}]


def _text(said: str) -> str:
    """Return a text for a figure, whose library reads a few tags."""
    return html.escape(shortened(visible(" ".join(said.split())), MOST_LETTERS), quote=False)
