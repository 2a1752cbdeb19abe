"""What the intervals assume, to be looked at: residuals over seeds, spread over effects, odd arms."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.reporting import palette, words
from orchestrator.reporting.compare import by_seed
from orchestrator.reporting.figures import Marks, grid, headline
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.stats.results import Effect

_MOST_SEEDS = 24  # that an axis can name
_SPREAD = 0.5  # of a seed's place, for the arms beside each other


def assumptions(report: StudyReport, evaluation: ReportedEvaluation, marks: Marks) -> Figure | None:
    """Residuals of the paired differences, seed by seed; beside them each arm's SD over its |Δ|."""
    found = [(effect, by_seed(report, evaluation, effect)) for effect in report.ordered(evaluation.effects)]
    found = [(effect, pairs) for effect, pairs in found if effect.delta is not None and len(pairs) > 1]
    if not found:
        return None
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    flagged = [effect for effect, _ in found if _is_odd(effect)]
    _residuals(report, left, found, flagged, marks)
    _spreads(report, right, [effect for effect, _ in found], flagged, marks)
    handles = [
        Line2D(
            [], [], marker="o", linestyle="", color=palette.series(index), label=_why(report, effect, found)
        )
        for index, effect in enumerate(flagged[: len(palette.SERIES)])
    ]
    grey = "pooled: no arm stands out" if not flagged else "the other arms"
    handles.append(Line2D([], [], marker="o", linestyle="", color=palette.NEUTRAL, label=grey))
    figure.legend(handles=handles, loc="outside lower left", ncols=min(3, len(handles)))
    headline(figure, f"assumptions{words.phase_tag(report, evaluation)}: equal noise in all arms and seeds")
    return figure


def _is_odd(effect: Effect) -> bool:
    return "noisy" in effect.flags or "zero variance" in effect.flags


def _colour(effect: Effect, flagged: list[Effect]) -> str:
    return palette.series(flagged.index(effect)) if effect in flagged else palette.NEUTRAL


def _why(report: StudyReport, effect: Effect, found: list[tuple[Effect, dict[int, float]]]) -> str:
    """`no-bn: noisy, SD 4.1 of the others' 1.2`."""
    name = palette.short(report.called(effect), 24)
    if "noisy" not in effect.flags:
        return f"{name}: all differences are equal"
    others = sorted(one.sd for one, _ in found if one.sd is not None and not _is_odd(one))
    beside = f", the others' {report.scale.number(others[len(others) // 2])}" if others else ""
    return f"{name}: noisy, SD {report.scale.number(effect.sd or 0.0)}{beside}: stands alone"


def _residuals(
    report: StudyReport,
    axes: Any,
    found: list[tuple[Effect, dict[int, float]]],
    flagged: list[Effect],
    marks: Marks,
) -> None:
    seeds = sorted({seed for _, pairs in found for seed in pairs})
    axes.axhline(0, color=palette.INK, linewidth=0.9)
    for index, (effect, pairs) in enumerate(found):
        places = [seeds.index(seed) + _SPREAD * ((index + 0.5) / len(found) - 0.5) for seed in pairs]
        rest = [value - (effect.delta or 0.0) for value in pairs.values()]
        ys = [value * report.scale.factor for value in rest]
        style: dict[str, Any] = {"color": _colour(effect, flagged), "markersize": 4.5}
        (dots,) = axes.plot(places, ys, "o", linestyle="", **style)
        folder = f"{report.folder_of(effect)}/"
        told = zip(pairs, rest, strict=True)
        said = [(f"{effect.arm}, seed {seed}: {report.scale.delta(value)}", folder) for seed, value in told]
        marks.put(dots, *said)
    step = -(-len(seeds) // _MOST_SEEDS)
    axes.set_xticks(range(0, len(seeds), step), [str(seed) for seed in seeds[::step]])
    axes.set_xlabel(
        "seed (a seed at which all arms lie on one side: the reference's run was unusual)", fontsize=8
    )
    axes.set_ylabel(f"difference − its arm's Δ{report.scale.in_brackets}")
    axes.margins(x=0.06, y=0.12)
    grid(axes, "y")


def _spreads(
    report: StudyReport, axes: Any, effects: list[Effect], flagged: list[Effect], marks: Marks
) -> None:
    factor = report.scale.factor
    for effect in effects:
        if effect.sd is None or effect.delta is None:
            continue
        at = [abs(effect.delta) * factor], [effect.sd * factor]
        (dot,) = axes.plot(*at, "o", color=_colour(effect, flagged), markersize=6, clip_on=False)
        told = f"{effect.arm}: SD {report.scale.number(effect.sd)} at Δ {report.scale.delta(effect.delta)}"
        marks.put(dot, (f"{told}, n = {effect.n}", f"{report.folder_of(effect)}/"))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.margins(0.12)
    axes.set_xlabel(f"|Δ| of {palette.short(report.metric, 24)}{report.scale.in_brackets}")
    axes.set_ylabel(f"SD of differences{report.scale.in_brackets}")
    grid(axes)
