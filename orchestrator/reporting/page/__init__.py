"""`report.html`: one file that opens offline, with interactive figures; Plotly's script is inside it."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.reporting import numbers, palette, words
from orchestrator.reporting.glossary import glossary
from orchestrator.reporting.headline import headline
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.numbers import DASH
from orchestrator.reporting.page import course, effects
from orchestrator.reporting.page.chart import Chart
from orchestrator.reporting.pagetemplate import page_template
from orchestrator.reporting.said import Levels, SaidEffect, Style, said

if TYPE_CHECKING:
    from markupsafe import Markup


def to_html(report: StudyReport) -> str:
    """Return the page; links are relative to the study's directory. Needs the extra [report]."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    evaluations = [_evaluation(report, evaluation) for evaluation in report.evaluations]
    drawn = {f"{name}-{e['phase']}": chart for e in evaluations for name, chart in e["charts"].items()}
    cost = course.ledger(report)
    return page_template("report.html.j2").render(
        report=report,
        evaluations=evaluations,
        cost=cost,
        numbers=numbers,
        words=words,
        headline=headline(report),
        glossary=glossary(report),
        colour=palette.colour,
        emphasised=_emphasised,
        more=_more,
        run_title=partial(_run_title, report),
        states=tuple(TrialState),
        charts=Markup(_script(drawn | {"ledger": cost})),  # noqa: S704 - escaped for a script element
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library's own script
    )


def _script(documents: dict[str, Chart]) -> str:
    """JSON that can stand inside a script element."""
    text = json.dumps(documents, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation) -> dict[str, Any]:
    """Return an evaluation as the template draws it; of its charts those that there are data for."""
    phase = evaluation.phase
    charts = {
        "forest": effects.forest(report, evaluation),
        "seeds": effects.seeds(report, evaluation),
        "interactions": effects.interactions(report, evaluation),
        "deltas": course.deltas(report, evaluation),
        "curves": course.curves(report, evaluation),
        "variance": course.variance(report, evaluation),
    }
    return {
        "phase": phase,
        "title": words.phase_title(report, evaluation),
        "reference": words.reference_line(report, evaluation).split(": ", 1)[1],
        "main": said(report, evaluation, evaluation.effects),
        "levels": Levels(report, evaluation),
        "interactions": said(report, evaluation, evaluation.interactions),
        "caption": words.caption(report, evaluation),
        "charts": {name: chart for name, chart in charts.items() if chart is not None},
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
