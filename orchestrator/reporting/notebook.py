"""Report, effects and where a study stands, for a notebook: words and numbers are those of the page."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from orchestrator.reporting import fragments, numbers, standingwords, words
from orchestrator.reporting.headline import headline
from orchestrator.reporting.model import StudyReport
from orchestrator.reporting.said import Levels, SaidEffect, said
from orchestrator.reporting.standing import StudyStanding

_FIGURES = ("forest", "curves")
"""Those that a notebook shows; the page has all of them."""


def report_html(report: StudyReport) -> str:
    """Headline, effects, what they mean, and the figures where matplotlib is installed."""
    findings = (one for each in report.evaluations for one in said(report, each, each.all_effects))
    closing = (words.cost_line(report), words.pairing_line(report), *report.all_notes)
    return fragments.block(
        *(fragments.line(line, warning=True) for line in words.warnings(report)),
        fragments.title(report.study, f"{report.metric}, {numbers.better(report)} is better"),
        fragments.line(headline(report)),
        fragments.line(words.settings_line(report), quiet=True),
        effects_html(report),
        *(fragments.line(one.sentence()) for one in findings if one.told),
        *(fragments.line(text, quiet=True) for text in closing if text),
        *_figures(report),
    )


def effects_html(report: StudyReport) -> str:
    """Return the tables of effects, phase by phase."""
    parts = []
    for evaluation in report.evaluations:
        parts.append(fragments.line(words.reference_line(report, evaluation)))
        levels = Levels(report, evaluation)
        main = said(report, evaluation, evaluation.effects)
        parts.append(_table(report, main, "main", levels if levels.in_rows else None))
        if not levels.in_rows:
            rows = [(arm.called, *columns) for arm, columns in levels.arms()]
            parts.append(fragments.table(("arm", *levels.heads), rows, range(1, 1 + len(levels.heads))))
        if evaluation.interactions:
            parts.append(fragments.line("Interactions: beyond the sum of both"))
            joint = said(report, evaluation, evaluation.interactions)
            parts.append(_table(report, joint, "interaction"))
        parts.append(fragments.line(words.caption(report, evaluation), quiet=True))
    return fragments.block(*parts)


def _table(
    report: StudyReport, effects: Sequence[SaidEffect], kind: str, levels: Levels | None = None
) -> str:
    """Return a table of effects; with `levels` the reference in front, and what each arm has reached."""
    value, *beside = levels.heads if levels else [""]
    tested = (words.interval_name(report, kind), "n", "p", "Holm p")
    head = ["arm", *([value] if levels else []), f"Δ{report.scale.in_brackets}", *tested, "verdict", *beside]
    rows = []
    if levels:
        first, *others = levels.reference
        n = levels.n.replace("/", " of ")
        dash = numbers.DASH
        rows.append((report.reference.called, first, dash, dash, n, dash, dash, "reference", *others))
    for one in effects:
        columns = levels.of(one.effect.arm) if levels else []
        n = f"{one.effect.n} of {one.planned}"
        found = (one.delta, one.interval, n, one.p, one.p_holm, one.verdict)
        rows.append((one.name, *columns[:1], *found, *columns[1:]))
    left = {0, head.index("n"), head.index("verdict")}
    return fragments.table(head, rows, set(range(len(head))) - left)


def _figures(report: StudyReport) -> list[str]:
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from orchestrator.reporting.figures import draw_figures

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
