"""Figures of effects: forest plot, seed by seed, interactions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from orchestrator.reporting import numbers, palette, words
from orchestrator.reporting.compare import pairs
from orchestrator.reporting.figures import Marks, grid, headline
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.said import SaidEffect, by_pair, said
from orchestrator.stats.results import EQUIVALENT, RESOLVED

_ROW_IN = 0.32
_LETTER_IN = 0.085
_PER_ROW = 8  # arms side by side in the figure of seeds


def forest(report: StudyReport, evaluation: ReportedEvaluation, marks: Marks) -> Figure | None:
    """Every Δ with its interval; beside it n, the interval's width and what it cost."""
    effects = said(report, evaluation, evaluation.all_effects)
    if not effects:
        return None
    labels = [palette.label(one.effect, one.name) for one in effects]
    names_in = _LETTER_IN * max(map(len, labels))  # what long names take must not come out of the columns
    figure = Figure(figsize=(9.6 + names_in, 1.5 + _ROW_IN * len(effects)), layout="constrained")
    axes, text = figure.subplots(1, 2, width_ratios=(1, 1.12))
    places = range(len(effects), 0, -1)
    for axis in (axes, text):
        axis.set_ylim(0.3, len(effects) + 1.1)
    if report.margin is not None:
        band = report.margin * report.scale.factor
        axes.axvspan(-band, band, color=palette.VERDICTS[EQUIVALENT], alpha=0.12, linewidth=0)
    axes.axvline(0, color=palette.INK, linewidth=0.9)
    for place, one in zip(places, effects, strict=True):
        _interval(axes, place, one, marks)
    axes.set_yticks(list(places), labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    grid(axes, "x")
    axes.margins(x=0.06)
    axes.set_xlabel(_meaning(report, evaluation))
    _columns(text, effects, places)
    title = words.phase_title(report, evaluation)
    headline(figure, f"{palette.short(report.study)}: effects{f' ({title})' if title else ''}", 10.5)
    return figure


def _meaning(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Return what the axis of the forest plot shows, in as many lines as there are things to say."""
    what = "averaged over the other components" if report.averaged else f"arm − {report.reference.arm}"
    lines = [f"Δ {palette.short(report.metric)}{report.scale.in_brackets}, {what}"]
    if evaluation.interactions:
        interval = words.interval_name(report, "interaction")
        lines.append(f"diamond: interaction, beyond the sum of both, {interval}")
    if report.margin is not None:
        lines.append(f"shaded: ±{report.scale.amount(report.margin)}")
    if any(map(palette.hollow, evaluation.all_effects)):
        lines.append("hollow: rung-only")
    return "\n".join(lines)


def _interval(axes: Any, place: float, one: SaidEffect, marks: Marks) -> None:
    effect, factor = one.effect, one.scale.factor
    if effect.delta is None or not math.isfinite(effect.delta):
        return
    colour, drawn = palette.colour(effect), []
    if effect.lo is not None and effect.hi is not None:
        ends = [effect.lo * factor, effect.hi * factor]
        drawn = axes.plot(ends, [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
    face = palette.CARD if palette.hollow(effect) else colour
    marker = "D" if effect.kind == "interaction" else "o"
    look = {"color": colour, "markerfacecolor": face, "markersize": 5.5}
    drawn += axes.plot([effect.delta * factor], [place], marker, **look)
    p = numbers.equals(effect.p_holm)
    lines = (one.name, f"Δ {one.delta} {one.interval}", f"n = {effect.n}, Holm p {p}", one.verdict)
    for artist in drawn:
        marks.put(artist, ("\n".join(lines), f"{one.folder}/"))


def _columns(text: Any, effects: Sequence[SaidEffect], places: range) -> None:
    """Draw the numbers beside the intervals, in columns."""
    text.axis("off")
    text.set_xlim(0, 1)
    head = len(places) + 0.85
    columns = (0.0, 0.35, 0.455, 0.56, 0.66)
    # of interactions, where there are some: their intervals are never sequential
    kind = max(effects, key=lambda one: one.effect.kind == "interaction").effect.kind
    names = (f"Δ [{words.interval_name(effects[0].report, kind)}]", "n", "width", "cost", "verdict")
    for x, name in zip(columns, names, strict=True):
        text.text(x, head, name, fontsize=7.5, color=palette.QUIET, va="center")
    for place, one in zip(places, effects, strict=True):
        between = "" if one.effect.lo is None else f" {one.interval}"
        cells = (f"{one.delta}{between}", f"{one.effect.n}/{one.planned}", one.width, one.time)
        for x, cell in zip(columns, cells, strict=False):
            text.text(x, place, cell, fontsize=7.5, va="center")
        verdict = one.effect.verdict + words.marks(one.effect)
        weight, colour = ("bold", palette.colour(one.effect)) if one.resolved else ("normal", palette.INK)
        text.text(columns[-1], place, verdict, fontsize=7.5, va="center", weight=weight, color=colour)


def seeds(report: StudyReport, evaluation: ReportedEvaluation, marks: Marks) -> Figure | None:
    """Seed by seed: from the reference's value to the arm's, one line per seed."""
    ordered = report.ordered(evaluation.effects)
    found = [(effect, pairs(report, evaluation, effect)) for effect in ordered]
    found = [(effect, values) for effect, values in found if values]
    if not found:
        return None
    rows = [found[start : start + _PER_ROW] for start in range(0, len(found), _PER_ROW)]
    figure = Figure(
        figsize=(max(4.5, 1.1 * min(len(found), _PER_ROW) + 1.6), 0.5 + 2.6 * len(rows)), layout="constrained"
    )
    dot: dict[str, Any] = {"linewidth": 1.1, "marker": "o", "markersize": 3.5}
    runs = (run for arm in report.all_arms for run in arm.of(evaluation.phase))
    folders = {(run.arm, run.seed): f"{run.trial_dir}/" for run in runs}
    order = sorted({seed for _, values in found for seed in values})
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        for place, (effect, values) in enumerate(row):
            for seed, ends in values.items():
                colour = palette.series(order.index(seed))
                (line,) = axes.plot([place - 0.22, place + 0.22], ends, color=colour, **dot)
                told = zip((effect.reference, effect.arm), ends, strict=True)
                marks.put(line, *((f"{arm}, seed {seed}: {v:.6g}", folders[arm, seed]) for arm, v in told))
        names = [_folded(palette.short(report.called(effect), 30)) for effect, _ in row]
        axes.set_xticks(range(len(row)), names, fontsize=7.5)
        axes.set_xlim(-0.6, min(len(found), _PER_ROW) - 0.4)
        axes.set_ylabel(palette.short(report.metric))
        grid(axes, "y")
        axes.ticklabel_format(axis="y", useOffset=False)
    handles = [Line2D([], [], color=palette.series(index), **dot) for index in range(len(order))]
    names = [f"seed {seed}" for seed in order]
    figure.legend(handles[:12], names[:12], loc="outside right center")
    headline(
        figure,
        f"seed by seed{words.phase_tag(report, evaluation)}: {report.reference.arm} (left) and arm (right)",
    )
    return figure


def _folded(name: str, width: int = 13) -> str:
    """Return a long name on several lines, broken behind =, +, - and _ where it may."""
    lines = [""]
    for piece in re.split(r"(?<=[=+_-])", name):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(lines)


def interactions(report: StudyReport, evaluation: ReportedEvaluation, marks: Marks) -> Figure | None:
    """Δ beyond the sum of both, for every pair of components that was run."""
    names, places = by_pair(evaluation)
    if not places:
        return None
    scale = report.scale
    size = 1.6 + 0.8 * len(names)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.subplots()
    labels = [palette.short(report.labels.get(name, name), 20) for name in names]
    most = max(abs(effect.delta or 0.0) for _, _, effect in places) * scale.factor or 1.0
    colours = ScalarMappable(Normalize(-most, most), colormaps["RdBu"])
    for row, column, effect in places:
        value = (effect.delta or 0.0) * scale.factor
        cell = axes.add_patch(
            Rectangle(
                (column - 0.48, row - 0.48), 0.96, 0.96, color=colormaps["RdBu"](0.5 + value / most / 2)
            )
        )
        told = scale.delta(effect.delta)
        marks.put(cell, (f"{labels[row]} and {labels[column]}: {told}", f"{report.folder_of(effect)}/"))
        weight = "bold" if effect.verdict in RESOLVED else "normal"
        colour = palette.ON_DARK if abs(value) > 0.6 * most else palette.ON_LIGHT
        text = axes.text(column, row, told, ha="center", va="center", fontsize=8)
        text.set(weight=weight, color=colour)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
    axes.set_xticks(range(len(names)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(colours, ax=axes, shrink=0.8, label=f"Δ beyond the sum{scale.in_brackets}")
    axes.set_title(f"interactions{words.phase_tag(report, evaluation)} (bold: resolved)")
    return figure
