"""The map of a study: arms by seeds, each cell in the colour of its state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
NOTHING = -1
"""Instead of the number of a state where an arm has no cell."""


_Key = tuple[str, int]
"""Of a column: phase and seed."""


@dataclass(frozen=True)
class CellRow:
    """What the map has of the cells of an arm, by column: number of its state, identity, value."""

    keys: tuple[_Key, ...]
    states: tuple[int, ...]
    cells: tuple[str, ...]
    values: tuple[float | None, ...]

    @classmethod
    def of(cls, cells: Iterable[TrialRecord]) -> CellRow:
        """Take the cells of an arm; samples of a search are not on the map."""
        mine = {(cell.phase, cell.seed): cell for cell in cells if cell.sample is None}
        some = mine.values()
        states, names = tuple(_PLACES[cell.state] for cell in some), tuple(cell.cell for cell in some)
        return cls(tuple(mine), states, names, tuple(map(_value, some)))

    def below(self, columns: tuple[_Key, ...]) -> CellRow:
        """Return it with a place for every column; where there is no cell its state is `NOTHING`."""
        if self.keys == columns:
            return self
        at = {key: place for place, key in enumerate(self.keys)}
        places = [at.get(key) for key in columns]
        states = tuple(NOTHING if place is None else self.states[place] for place in places)
        cells = tuple("" if place is None else self.cells[place] for place in places)
        values = tuple(None if place is None else self.values[place] for place in places)
        return CellRow(columns, states, cells, values)


def cell_figure(rows: Mapping[str, CellRow], metric: str) -> Figure:
    """Return the map of these arms.

    Arrays of numbers, whatever the size: a cell is the number of its state, its value once it has ended, and
    its identity for the page of its trial.
    """
    columns = tuple(dict.fromkeys(key for keys in {row.keys: 0 for row in rows.values()} for key in keys))
    most = max(1, MOST_CELLS // max(1, len(columns)))
    shown = {arm: row.below(columns) for arm, row in list(rows.items())[:most] if row.keys}
    if not shown:
        return figure([], {}, "No cell is planned for these arms.")
    phases = {phase for phase, _ in columns}
    seeds = [str(seed) if len(phases) == 1 else f"{phase} {seed}" for phase, seed in columns]
    gap = LINE if max(len(shown), len(columns)) <= FEW else HAIR
    data = {
        "type": "heatmap",
        "uid": uid("cells"),
        "x": labels(seeds),
        "y": labels(shown),
        "z": [
            row.states if NOTHING not in row.states else [_drawn(state) for state in row.states]
            for row in shown.values()
        ],
        "customdata": [row.cells for row in shown.values()],
        "meta": {
            "words": [state.value for state in TrialState],
            "values": [row.values for row in shown.values()],
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
    numbers = {number for row in shown.values() for number in row.states}
    words = "A click on a cell leads to its trial; the tables of cells have them as links."
    if len(shown) < len(rows):
        words += (
            f" These are the first {len(shown)} of {len(rows)} arms: the filter of arms finds the others."
        )
    return figure(
        [data, *(_key(state) for state, number in _PLACES.items() if number in numbers)], layout, words
    )


def _drawn(state: int) -> int | None:
    return None if state == NOTHING else state


def _value(cell: TrialRecord) -> float | None:
    """Return what a cell ended with, in few digits."""
    if not cell.state.terminal or cell.value is None or not math.isfinite(cell.value):
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
