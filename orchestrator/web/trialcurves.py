"""The curves of one trial as figures: its metric and what else it has reported, beside the reference's run.

Pure: rows of its tables in, a Plotly figure as plain data out.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from orchestrator.record.metrictable import REPORT_COLUMNS
from orchestrator.study.visible import shortened, visible

MOST_POINTS = 2_000
"""Of a line; of a longer one every second, third, ... is drawn, and its last one."""
MOST_TAKEOVERS = 20
"""Attempts whose beginning is marked."""
MOST_LETTERS = 60
_MARKED = 60  # lines with so few points show where each is

Row = Mapping[str, Any]
Point = tuple[float, float | None]


@dataclass(frozen=True)
class TrialLine:
    """What one run has reported of one scalar. `points`: (length, value), the value None: not finite."""

    name: str
    colour: str
    points: Sequence[Point]


@dataclass(frozen=True)
class ScalarInWords:
    """One scalar of a trial in words. `points`: how many; the values are None where none was finite."""

    name: str
    points: int
    first: float | None
    last: float | None
    least: float | None
    most: float | None


def scalar_names(rows: Iterable[Row], others: Iterable[str] = ()) -> list[str]:
    """Return the names of the numbers that rows have, in order of appearance; without `others`."""
    left_out = {*REPORT_COLUMNS, *others}
    names = {name: None for row in rows for name, value in row.items() if isinstance(value, int | float)}
    return [name for name in names if name not in left_out]


def points_of(rows: Iterable[Row], name: str, key: str) -> list[Point]:
    """Return (row[key], row[name]) of the rows that have both, the value None where it is not finite."""
    return [
        (at, _finite(row[name]))
        for row in rows
        if isinstance(row.get(name), int | float) and (at := _finite(row.get(key))) is not None
    ]


def in_words(name: str, points: Sequence[Point]) -> ScalarInWords:
    """Return what a table says of a curve."""
    values = [value for _, value in points if value is not None]
    if not values:
        return ScalarInWords(name, len(points), None, None, None, None)
    return ScalarInWords(name, len(points), values[0], values[-1], min(values), max(values))


def takeovers(rows: Sequence[Row], key: str) -> list[tuple[float, int]]:
    """Return where later attempts took over: the length that they went on from, and their numbers."""
    found = []
    for before, row in pairwise(rows):
        number, at = row.get("attempt"), _finite(before.get(key))
        if isinstance(number, int) and number != before.get("attempt") and at is not None:
            found.append((at, number))
    return found[-MOST_TAKEOVERS:]


def figure_of(
    name: str, axis: str, own: TrialLine, reference: TrialLine | None, taken_over: Iterable[tuple[float, int]]
) -> dict[str, Any]:
    """Return the figure of one scalar. `axis`: what lengths are counted in."""
    lines = [_drawn(own, "solid"), *([] if reference is None else [_drawn(reference, "dash")])]
    marks = [(at, f"attempt {number}") for at, number in taken_over]
    return {
        "data": lines,
        "layout": {
            "uirevision": "kept",
            "showlegend": True,
            "xaxis": {"title": {"text": plain(axis)}},
            "yaxis": {"title": {"text": plain(name)}},
            "shapes": [_mark(at) for at, _ in marks],
            "annotations": [_words(at, words) for at, words in marks],
        },
    }


def plain(text: str) -> str:
    """Return a text for a figure, in which it is no more than that: Plotly would read some tags in it."""
    return html.escape(shortened(visible(" ".join(text.split())), MOST_LETTERS), quote=False)


def _mark(at: float) -> dict[str, Any]:
    ends = {"x0": at, "x1": at, "xref": "x", "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "line", "line": {"dash": "dot", "width": 1, "color": "var(--quiet)"}, **ends}


def _words(at: float, words: str) -> dict[str, Any]:
    place = {"x": at, "xref": "x", "y": 1, "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return {"text": words, "showarrow": False, **place}


def _drawn(line: TrialLine, dash: str) -> dict[str, Any]:
    points = _thinned(line.points)
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= _MARKED else "lines",
        "name": plain(line.name),
        "x": [at for at, _ in points],
        "y": [value for _, value in points],
        "line": {"color": line.colour, "dash": dash},
        "marker": {"size": 5},
    }


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MOST_POINTS:
        return points
    kept = points[:: math.ceil(len(points) / (MOST_POINTS - 1))]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
