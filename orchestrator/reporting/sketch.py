"""Curves and effects in characters, for a terminal that is drawn again and again.

Each sign stands for one that every encoding has (`streams.fitting`), and a width below which a sketch says
nothing leaves it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.reporting import numbers
from orchestrator.reporting.model import Curve, StudyReport
from orchestrator.reporting.said import SaidEffect, said
from orchestrator.stats.results import FAILS, HELPS, HURTS

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 16
_PLOT = (16, 48)
"""Least and most characters of an interval."""
_BESIDE = 52
"""Characters that name, numbers and verdict of an effect need beside its interval."""
_STYLES = {HURTS: "red", HELPS: "green", FAILS: "bold red"}


def sparklines(curves: Iterable[Curve], full: float, width: int = CURVE_WIDTH) -> dict[str, str]:
    """Return each arm's learning curve as a line of `width` characters for the `full` length.

    All are drawn on one scale. A curve ends where the arm's runs have come; where they report more rarely
    than there are characters, the last value goes on.
    """
    drawn = {curve.arm: _binned(curve, full, width) for curve in curves}
    values = [value for line in drawn.values() for value in line if value is not None]
    low, high = min(values, default=0.0), max(values, default=0.0)
    return {arm: "".join(_block(value, low, high) for value in line) for arm, line in drawn.items()}


def _binned(curve: Curve, full: float, width: int) -> list[float | None]:
    bins: list[list[float]] = [[] for _ in range(width)]
    last = -1
    for length, value in zip(curve.lengths, curve.mean, strict=True):
        last = max(0, min(width, math.ceil(width * length / full)) - 1)
        bins[last].append(value)
    line: list[float | None] = []
    for found in bins[: last + 1]:
        line.append(math.fsum(found) / len(found) if found else line[-1] if line else None)
    return line


def _block(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    share = 0.5 if high == low else (value - low) / (high - low)
    return BLOCKS[min(len(BLOCKS) - 1, int(share * len(BLOCKS)))]


def interval(
    delta: float | None, lo: float | None, hi: float | None, ends: tuple[float, float], width: int
) -> str:
    """Return an effect on a line from one of the `ends` to the other: `──●──  │`, the bar at zero."""
    low, high = ends
    step = (high - low) / (width - 1) or 1.0

    def at(value: float) -> int:
        return max(0, min(width - 1, round((value - low) / step)))

    line = [" "] * width
    if lo is not None and hi is not None:
        line[at(lo) : at(hi) + 1] = "─" * (at(hi) - at(lo) + 1)
    line[at(0.0)] = "│"
    if delta is not None:
        line[at(delta)] = "●"
    return "".join(line)


def forest(report: StudyReport, width: int, rows: int) -> list[RenderableType]:
    """Return the effects so far, the largest first, on a terminal of `width`; none while there is none.

    At most `rows` effects are shown, and how many are not.
    """
    told = [one for one in said(report, report.first, report.first.effects) if _has_something(one)]
    if not told or rows < 1:
        return []
    told.sort(key=lambda one: -abs(one.effect.delta or 0.0))
    shown, hidden = told[:rows], len(told) - rows
    room = min(_PLOT[1], width - _BESIDE)
    unit = report.scale.in_brackets
    so_far = "" if report.complete else " so far"
    title = (
        f"Δ {numbers.one_line(report.metric, 40)}{unit} from {numbers.one_line(report.reference.called, 40)}"
    )
    parts: list[RenderableType] = [Text(f"{title}{so_far}", style="dim")]
    parts.append(_table(shown, room) if room >= _PLOT[0] else _lines(shown))
    return [*parts, Text(f"and {hidden} more", style="dim")] if hidden > 0 else parts


def _has_something(one: SaidEffect) -> bool:
    return one.effect.delta is not None or one.effect.verdict == FAILS


def _table(shown: Sequence[SaidEffect], room: int) -> Table:
    values = [
        value
        for one in shown
        for value in (one.effect.delta, one.effect.lo, one.effect.hi)
        if value is not None
    ]
    ends = min([0.0, *values]), max([0.0, *values])
    table = Table(box=None, pad_edge=False, show_header=False)
    for justify in ("left", "left", "right", "left", "right", "left"):
        table.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
    for one in shown:
        effect, style = one.effect, _STYLES.get(one.effect.verdict, "")
        drawn = interval(effect.delta, effect.lo, effect.hi, ends, room)
        cells = (numbers.one_line(one.name, 24), drawn, one.delta, one.interval, f"{effect.n}/{one.planned}")
        table.add_row(*map(Text, cells), Text(one.brief_verdict, style=style))
    return table


def _lines(shown: Sequence[SaidEffect]) -> Text:
    lines = (
        f"{one.name}: {one.difference}n = {one.effect.n}/{one.planned}, {one.brief_verdict}" for one in shown
    )
    return Text("\n".join(lines), overflow="fold")
