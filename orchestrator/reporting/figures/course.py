"""Figures of the course and the cost: learning curves, Δ over rungs, ledger, variance."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from orchestrator.decide.states import TrialState
from orchestrator.reporting import numbers, palette, words
from orchestrator.reporting.figures import Marks, Said, grid, headline, rows
from orchestrator.reporting.model import Crossing, Curve, ReportedEvaluation, StudyReport
from orchestrator.reporting.said import spreads

_PANELS = 4  # learning curves side by side
_ROW_IN = 0.3
_TOLD = 20  # points of a learning curve that say their value


def curves(report: StudyReport, evaluation: ReportedEvaluation, marks: Marks) -> Figure | None:
    """Learning curve of every arm beside the reference's; the band is ±1 SD over seeds."""
    reference = next((c for c in evaluation.curves if c.arm == report.reference.arm), None)
    others = [curve for curve in evaluation.curves if curve.arm != report.reference.arm]
    panels = others or ([reference] if reference else [])
    if not panels:
        return None
    columns = min(_PANELS, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(4.2, 2.6 * columns), 0.7 + 2.0 * lines), layout="constrained")
    every = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, curve in zip(every.flat, panels, strict=False):
        if reference is not None and curve is not reference:
            _curve(axes, reference, palette.NEUTRAL)
        line = _curve(axes, curve, palette.NEUTRAL if curve is reference else palette.series(0))
        marks.put(line, *_told(report, curve, reference))
        axes.set_title(palette.short(curve.arm, 30), fontsize=8.5)
        grid(axes)
        axes.ticklabel_format(axis="y", useOffset=False)
    for index, axes in enumerate(every.flat):
        axes.set_visible(index < len(panels))
        axes.tick_params(labelbottom=index + columns >= len(panels))
    figure.supxlabel(report.unit, fontsize=9)
    figure.supylabel(palette.short(report.followed), fontsize=9)
    headline(
        figure,
        f"learning curves{words.phase_tag(report, evaluation)}: arm (colour) and {report.reference.arm} "
        "(grey), mean ± 1 SD over seeds",
    )
    return figure


def _curve(axes: Any, curve: Curve, colour: str) -> Any:
    (line,) = axes.plot(curve.lengths, curve.mean, color=colour, linewidth=1.4)
    if len(curve.mean) == 1:
        line.set_marker("o")
    else:  # places to rest the pointer on
        line.set(marker="o", markersize=9, markerfacecolor="none", markeredgecolor="none")
        line.set_markevery(_every(curve))
    if curve.band:
        xs, los, his = zip(*curve.band, strict=True)
        axes.fill_between(xs, los, his, color=colour, alpha=0.18, linewidth=0)
    return line


def _every(curve: Curve) -> list[int]:
    """Return the points that say their value: the last one, and others at even distances."""
    step = math.ceil(len(curve.mean) / _TOLD)
    return list(range((len(curve.mean) - 1) % step, len(curve.mean), step))


def _told(report: StudyReport, curve: Curve, reference: Curve | None) -> list[Said]:
    beside = (
        dict(zip(reference.lengths, reference.mean, strict=True)) if reference not in (None, curve) else {}
    )
    found = []
    for index in _every(curve):
        at = curve.lengths[index]
        there = f", {report.reference.arm} {beside[at]:.4g}" if at in beside else ""
        found.append(f"{curve.arm} at {at:g}: {curve.mean[index]:.4g}, n = {curve.n[index]}{there}")
    return [(text, report.folder(curve.arm)) for text in found]


def deltas(report: StudyReport, evaluation: ReportedEvaluation, marks: Marks) -> Figure | None:
    """Δ of every arm at the rungs and at full length; changes of sign are ringed and named."""
    if not evaluation.deltas:
        return None
    scale = report.curve_scale
    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=palette.INK, linewidth=0.9)
    few = len(evaluation.deltas) <= len(palette.SERIES)
    handles = []
    for index, found in enumerate(evaluation.deltas):
        crosses = bool(found.crossings)
        colour = palette.series(index) if few or crosses else palette.FAINT
        ys = [value * scale.factor for value in found.delta]
        (line,) = axes.plot(
            found.lengths,
            ys,
            color=colour,
            marker="o",
            markersize=3.5,
            linewidth=1.5 if crosses or few else 0.9,
            label=palette.short(found.arm) + "".join(map(_crossing, found.crossings)),
        )
        points = zip(found.lengths, ys, found.n, strict=True)
        folder = report.folder(found.arm)
        marks.put(line, *((f"{found.arm} at {x:g}: {y:.4g}, n = {n}", folder) for x, y, n in points))
        handles += [line] if few or crosses else []
        for crossing in found.crossings:
            at = crossing.after, ys[found.lengths.index(crossing.after)]
            ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": colour}
            (drawn,) = axes.plot(*at, "o", markersize=11, markeredgewidth=1.4, **ring)
            between = f"between {crossing.before:g} and {crossing.after:g}, n = {crossing.n}"
            marks.put(drawn, (f"{found.arm}: sign changes {between}", folder))
    lengths = sorted({length for found in evaluation.deltas for length in found.lengths})
    if lengths[0] > 0 and len(lengths) > 1:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(lengths, [f"{length:g}" for length in lengths])
    axes.margins(x=0.08)
    axes.set_xlabel(f"{report.unit} (rungs and full length)")
    axes.set_ylabel(f"mean Δ {palette.short(report.followed)}{scale.in_brackets}")
    grid(axes, "y")
    if handles:
        figure.legend(handles=handles[:24], loc="outside right center")
    headline(
        figure,
        f"Δ over rungs{words.phase_tag(report, evaluation)}: what a comparison would have said there "
        "(ring: sign changed, same seeds)",
    )
    return figure


def _crossing(crossing: Crossing) -> str:
    return f"\n  crosses {crossing.before:g} → {crossing.after:g}, n = {crossing.n}"


def ledger(report: StudyReport, marks: Marks) -> Figure:
    """Trained length of every arm by what its runs ended as, against what the grid would have trained."""
    arms = report.all_arms
    figure = Figure(figsize=(8.6, 1.7 + _ROW_IN * len(arms)), layout="constrained")
    axes = figure.subplots()
    states: set[TrialState] = set()
    most = max(sum(entry.spent for entry in report.ledger.of_arm(arm.arm)) for arm in arms)
    full = max(report.in_grid(arm) for arm in arms)
    for place, arm in enumerate(reversed(arms)):
        left = 0.0
        entries = report.ledger.of_arm(arm.arm)
        for state in TrialState:
            mine = [entry for entry in entries if entry.state is state]
            spent = math.fsum(entry.spent for entry in mine)
            if spent:
                states.add(state)
                (bar,) = axes.barh(place, spent, left=left, color=palette.STATES[state], height=0.68)
                took = numbers.duration(math.fsum(entry.wall_s for entry in mine))
                marks.put(bar, (f"{arm.arm}, {state}: {spent:g} {report.unit}, {took}", f"{arm.trial_dir}/"))
                left += spent
        whole = report.in_grid(arm)
        (line,) = axes.plot([whole] * 2, [place - 0.42, place + 0.42], color=palette.INK, linewidth=1.2)
        marks.put(line, (f"the grid: {whole:g} {report.unit}", ""))
        beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": 7.5, "va": "center"}
        axes.text(1.01, place, _cost(report, arm.arm), **beside)
    axes.set_xlim(0, 1.03 * max(most, full, 1e-12))
    axes.set_ylim(-0.7, len(arms) - 0.3)
    rows(axes, [arm.arm for arm in reversed(arms)])
    axes.set_xlabel(f"trained {report.unit.removesuffix('s')}s; line: the grid")
    handles = [
        Patch(color=palette.STATES[state], label=str(state)) for state in TrialState if state in states
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower right", ncols=len(handles))
    headline(figure, f"cost: {words.cost_line(report)}", 9)
    return figure


def _cost(report: StudyReport, arm: str) -> str:
    entries = report.ledger.of_arm(arm)
    skipped = sum(entry.runs for entry in entries if entry.state is TrialState.SKIPPED)
    text = numbers.duration(math.fsum(entry.wall_s for entry in entries))
    return f"{text}, {skipped} skipped" if skipped else text


def variance(report: StudyReport, evaluation: ReportedEvaluation, marks: Marks) -> Figure | None:
    """SD over seeds of every arm, and of its paired differences as if they were single runs (SD(D)/√2)."""
    found = spreads(report, evaluation)
    if not found:
        return None
    figure = Figure(figsize=(7.4, 1.6 + _ROW_IN * len(found)), layout="constrained")
    axes = figure.subplots()
    hollow: dict[str, Any] = {"color": palette.series(1), "markerfacecolor": "none"}
    for place, (arm, sd, half) in enumerate(reversed(found)):
        (dot,) = axes.plot([sd], [place], "o", color=palette.series(0), markersize=6)
        marks.put(dot, (f"{arm}: {sd:.4g}\nSD over seeds", report.folder(arm)))
        if half is not None:
            (diamond,) = axes.plot([half], [place], "D", markersize=5.5, **hollow)
            marks.put(diamond, (f"{arm}: {half:.4g}\nSD of differences / √2", report.folder(arm)))
    rows(axes, [arm for arm, _, _ in reversed(found)])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlim(left=0)
    grid(axes)
    axes.set_xlabel(f"{palette.short(report.metric)}{report.scale.in_brackets}")
    pairs = "SD of paired differences / √2 (left of the dot: pairing helps)"
    handles = [
        Line2D([], [], marker="o", linestyle="", color=palette.series(0), label="SD over seeds"),
        Line2D([], [], marker="D", linestyle="", label=pairs, **hollow),
    ][: 1 if report.averaged else 2]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    worth = words.pairing_line(report, evaluation) or "what pairing by seed was worth cannot be measured"
    headline(figure, f"variance{words.phase_tag(report, evaluation)}: {worth}", 9.5)
    return figure
