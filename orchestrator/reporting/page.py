"""`report.html`: one file that opens offline and prints, with the charts inside it and no script."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.reporting import numbers, palette, words
from orchestrator.reporting.bibliography import in_words
from orchestrator.reporting.figures import Drawn, draw_charts
from orchestrator.reporting.figures.inline import inline
from orchestrator.reporting.glossary import glossary
from orchestrator.reporting.headline import headline
from orchestrator.reporting.methods import with_new_data
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.numbers import DASH
from orchestrator.reporting.pagetemplate import page_template
from orchestrator.reporting.said import Levels, SaidEffect, Style, said
from orchestrator.study.methods import cited

if TYPE_CHECKING:
    from markupsafe import Markup


def to_html(report: StudyReport, charts: Sequence[Drawn] | None = None) -> str:
    """Return the page; links are relative to the study's directory. Needs the extra [report].

    `charts`: those of the report as `draw_charts` has drawn them; without, they are drawn.
    """
    from markupsafe import Markup

    empty = {each.phase for each in report.evaluations if all(one.delta is None for one in each.all_effects)}
    shown = [
        chart
        for chart in (draw_charts(report, ("svg",)) if charts is None else charts)
        if chart.phase not in empty or not chart.name.startswith("forest")
    ]
    html = page_template("report.html.j2").render(
        report=report,
        evaluations=[_evaluation(report, evaluation) for evaluation in report.evaluations],
        charts=[(chart, Markup(inline(chart))) for chart in shown],  # noqa: S704 - escaped where it is made
        numbers=numbers,
        words=words,
        headline=headline(report),
        glossary=glossary(report),
        methods=with_new_data(report),
        references=[in_words(one) for one in cited(with_new_data(report))],
        colour=palette.colour,
        emphasised=_emphasised,
        more=_more,
        run_title=partial(_run_title, report),
        states=tuple(TrialState),
    )
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", html)  # no browser shows them


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation) -> dict[str, Any]:
    """Return an evaluation as the template draws it."""
    phase = evaluation.phase
    return {
        "phase": phase,
        "title": words.phase_title(report, evaluation),
        "reference": words.reference_line(report, evaluation).split(": ", 1)[1],
        "main": said(report, evaluation, evaluation.effects),
        "levels": Levels(report, evaluation),
        "interactions": said(report, evaluation, evaluation.interactions),
        "caption": words.caption(report, evaluation),
        "looks": [words.look_row(report, look) for look in evaluation.decisions],
        "seeds": sorted({run.seed for arm in report.all_arms for run in arm.of(phase)}),
        "runs": [(arm, {run.seed: run for run in arm.of(phase)}) for arm in report.all_arms],
    }


def _emphasised(one: SaidEffect) -> Markup:
    """Return sentence with its names in <em>: marked with private characters, which survive the escaping."""
    from markupsafe import Markup, escape

    safe = escape(one.sentence(Style(emphasise=lambda name: f"\ue000{name}\ue001")))
    return Markup(str(safe).replace("\ue000", "<em>").replace("\ue001", "</em>"))  # noqa: S704 - escaped above


def _more(one: SaidEffect) -> list[str]:
    """Return what stands behind an effect's row, for those who want it: a row of the second table."""
    effect, scale = one.effect, one.scale
    plain, wins, failures = effect.plain, effect.wins, effect.failures
    won = beside = DASH
    if wins is not None:
        won = f"{numbers.share(wins.share)} [{numbers.share(wins.lo)}, {numbers.share(wins.hi)}]"
    if plain is not None:
        beside = f"{scale.interval(plain.lo, plain.hi)}, p {numbers.equals(plain.p)}"
    ps = (effect.p_equivalent, effect.p_permutation, effect.q, failures.p if failures else None)
    return [
        one.name,
        effect.method,
        scale.interval(effect.wide_lo, effect.wide_hi),
        beside,
        _plain_number(effect.df),
        won,
        DASH if effect.percent is None else f"{effect.percent:+.2g} %".replace("-", "−"),
        _plain_number(effect.d_sd),
        _plain_number(effect.g_z),
        *map(numbers.p_value, ps),
        ", ".join(effect.flags) or DASH,
    ]


def _plain_number(value: float | None) -> str:
    return DASH if value is None or not math.isfinite(value) else f"{value:.3g}".replace("-", "−")


def _run_title(report: StudyReport, run: TrialRecord) -> str:
    """Return what is shown of a run where the pointer rests on it."""
    commit = f", commit {report.provenance.commit[:12]}" if report.provenance.commit else ""
    changed = ", changed code" if run.accepted_code_change else ""
    where = f", on {' and '.join(run.devices)}" if run.devices else ""
    length = "" if run.length is None else f", {numbers.quantity(run.length, report.unit)}"
    title = f"seed {run.seed}, cell {run.cell}, {words.outcome(run)}{length}, {numbers.duration(run.wall_s)}"
    return f"{title}{where}{commit}{changed}"
