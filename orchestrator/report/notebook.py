"""Report, effects and where a study stands, for a notebook: words and numbers are those of the page."""

from __future__ import annotations

import importlib.util

from orchestrator.report import fragments, numbers, standingwords, words
from orchestrator.report.model import ReportedEvaluation, StudyReport
from orchestrator.report.standing import StudyStanding
from orchestrator.stats.results import FAILS, RESOLVED, Effect

_FIGURES = ("forest", "curves")
"""Those that a notebook shows; the page has all of them."""
_RIGHT = (1, 2, 4, 5)


def report_html(report: StudyReport) -> str:
    """Headline, effects, what they mean, and the figures where matplotlib is installed."""
    scale = numbers.scale_of(report)
    better = "higher" if report.mode == "max" else "lower"
    parts = [
        *(fragments.line(line, warning=True) for line in words.headline(report)),
        fragments.title(report.study, f"{report.metric}, {better} is better"),
        fragments.line(words.settings_line(report), quiet=True),
        effects_html(report),
    ]
    for evaluation in report.evaluations:
        parts += [
            fragments.line(words.sentence(report, evaluation, effect, scale))
            for effect in evaluation.all_effects
            if effect.verdict in RESOLVED | {FAILS}
        ]
    closing = (words.cost_line(report), words.pairing_line(report), *report.notes)
    parts += [fragments.line(text, quiet=True) for text in closing if text]
    return fragments.block(*parts, *_figures(report))


def effects_html(report: StudyReport) -> str:
    """Return the tables of effects, phase by phase."""
    scale = numbers.scale_of(report)
    parts = []
    for evaluation in report.evaluations:
        parts.append(fragments.line(words.reference_line(report, evaluation, scale)))
        parts.append(_table(report, evaluation, evaluation.effects, scale, "main"))
        if evaluation.interactions:
            parts.append(fragments.line("Interactions: beyond the sum of both"))
            parts.append(_table(report, evaluation, evaluation.interactions, scale, "interaction"))
        parts.append(fragments.line(words.caption(report, evaluation), quiet=True))
    return fragments.block(*parts)


def _table(
    report: StudyReport,
    evaluation: ReportedEvaluation,
    effects: tuple[Effect, ...],
    scale: numbers.Scale,
    kind: str,
) -> str:
    unit = f" ({scale.unit})" if scale.unit else ""
    interval = words.interval_name(report, kind)
    rows = [
        (
            effect.arm,
            numbers.delta(effect, scale),
            numbers.interval(effect, scale),
            f"{effect.n} of {len({run.seed for run in report.behind(effect, evaluation.phase)})}",
            numbers.p_value(effect.p),
            numbers.p_value(effect.p_holm),
            words.verdict(report, evaluation, effect, scale),
        )
        for effect in effects
    ]
    return fragments.table(("arm", f"Δ{unit}", interval, "n", "p", "Holm p", "verdict"), rows, _RIGHT)


def _figures(report: StudyReport) -> list[str]:
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from orchestrator.report.figures import draw_figures

    drawn = draw_figures(report, ("png",), only=_FIGURES)
    return [fragments.picture(png, name.partition(".")[0]) for name, png in drawn.items()]


def standing_html(found: StudyStanding) -> str:
    """Arms × seeds as glyphs, and a line for every trial that runs or ended early."""
    rows = standingwords.arm_rows(found)
    headings = standingwords.headings(found)
    return fragments.block(
        fragments.line(standingwords.headline(found)),
        fragments.table(headings, rows, range(len(headings) - 3, len(headings))),
        *(fragments.line(text) for text in standingwords.explanations(found)),
    )
