"""The map of a study: arms by seeds, each cell in the colour of its state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.reporting.palette import STATES
from orchestrator.web.figures import Figure, figure, in_template, labels, uid

MOST_CELLS = 20_000
FEW = 60
"""Rows or columns that there is room for lines between."""
LINE, HAIR = 1, 0.01
"""Between cells. Where there is nothing at all, Plotly draws in a way that takes a style attribute, which the
policy of the pages forbids."""
_PLACES = {state: place for place, state in enumerate(TrialState)}


def cell_figure(arms: Sequence[str], cells: Iterable[TrialRecord], metric: str) -> Figure:
    """Return the map of these arms; samples of a search are not on it.

    Arrays of numbers, whatever the size: a cell is the number of its state, its value once it has ended, and
    its identity for the page of its trial.
    """
    rows: dict[str, dict[tuple[str, int], TrialRecord]] = {arm: {} for arm in arms}
    for cell in cells:
        if cell.arm in rows and cell.sample is None:
            rows[cell.arm][cell.phase, cell.seed] = cell
    columns = list(dict.fromkeys(key for mine in rows.values() for key in mine))
    most = max(1, MOST_CELLS // max(1, len(columns)))
    shown = {arm: mine for arm, mine in list(rows.items())[:most] if mine}
    if not shown:
        return figure([], {}, "No cell is planned for these arms.")
    grid = [[mine.get(key) for key in columns] for mine in shown.values()]
    phases = {phase for phase, _ in columns}
    seeds = [str(seed) if len(phases) == 1 else f"{phase} {seed}" for phase, seed in columns]
    gap = LINE if max(len(shown), len(columns)) <= FEW else HAIR
    data = {
        "type": "heatmap",
        "uid": uid("cells"),
        "x": labels(seeds),
        "y": labels(shown),
        "z": [[None if cell is None else _PLACES[cell.state] for cell in row] for row in grid],
        "customdata": [["" if cell is None else cell.cell for cell in row] for row in grid],
        "meta": {
            "words": [state.value for state in TrialState],
            "values": [[_value(cell) for cell in row] for row in grid],
            "opens": "trial?cell=",
        },
        **_colours(),
        "xgap": gap,
        "ygap": gap,
        "hoverongaps": False,
        "hovertemplate": f"%{{y}}<br>seed %{{x}}: %{{text}}<extra>{in_template(metric)}</extra>",
    }
    layout = {
        "height": round(150 + min(640, max(4, min(22, 600 / len(shown))) * len(shown))),
        "xaxis": {"type": "category", "title": {"text": "seed"}, "showgrid": False},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
        "legend": {"itemclick": False, "itemdoubleclick": False},
    }
    states = {cell.state for row in grid for cell in row if cell is not None}
    words = "A click on a cell leads to its trial; the tables of cells have them as links."
    if len(shown) < len(rows):
        words += (
            f" These are the first {len(shown)} of {len(rows)} arms: the filter of arms finds the others."
        )
    return figure([data, *(_key(state) for state in TrialState if state in states)], layout, words)


def _value(cell: TrialRecord | None) -> float | None:
    """Return what a cell ended with, in few digits."""
    if cell is None or not cell.state.terminal or cell.value is None or not math.isfinite(cell.value):
        return None
    return float(f"{cell.value:.4g}")


def _colours() -> Mapping[str, Any]:
    """Return a scale that has one colour for each state."""
    steps = [
        (place / len(TrialState), STATES[state])
        for state, number in _PLACES.items()
        for place in (number, number + 1)
    ]
    return {"colorscale": steps, "zmin": -0.5, "zmax": len(TrialState) - 0.5, "showscale": False}


def _key(state: TrialState) -> Figure:
    """Return the line of the legend for a state."""
    marker = {"color": STATES[state], "symbol": "square", "size": 11}
    point = {"x": [None], "y": [None], "marker": marker, "hoverinfo": "skip"}
    return {"type": "scatter", "mode": "markers", "name": state.value, "uid": uid(state.value), **point}
