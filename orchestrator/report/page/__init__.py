"""`report.html`: one file that opens offline, with interactive figures; Plotly's script is inside it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from orchestrator.decide.states import TrialState
from orchestrator.record.state import TrialRecord
from orchestrator.report import numbers, palette, words
from orchestrator.report.markdown import folder_of, settings
from orchestrator.report.model import ArmReport, ReportedEvaluation, StudyReport
from orchestrator.report.page import course, effects
from orchestrator.report.page.chart import Chart, folder
from orchestrator.report.pagetemplate import page_template
from orchestrator.stats.results import RESOLVED, Effect

if TYPE_CHECKING:
    from markupsafe import Markup

Cell = dict[str, Any]
"""One cell of a table: `text`, and where there is one `href` and `title`."""


def to_html(report: StudyReport) -> str:
    """Return the page; its links are relative to the study's directory, where it lies. Needs the extra
    [report].
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    scale = numbers.scale_of(report)
    evaluations = [_evaluation(report, evaluation, scale) for evaluation in report.evaluations]
    drawn = {f"{name}-{e['phase']}": chart for e in evaluations for name, chart in e["charts"].items()}
    cost = course.ledger(report)
    return page_template("report.html.j2").render(
        report=report,
        lang_better=numbers.better(report),
        headline=words.headline(report),
        settings_line=words.settings_line(report),
        provenance_line=words.provenance_line(report),
        length=numbers.quantity(report.max_length, report.unit),
        evaluations=evaluations,
        tuned=[_tuned(report, scale, index) for index in range(len(report.tuned))],
        tuning_lines=words.tuning_lines(report, scale),
        left_out=[_left_out(arm, run) for arm, run in report.left_out],
        ledger=_ledger(report),
        ledger_total=_total(report),
        cost=cost,
        charts=Markup(_script(drawn | {"ledger": cost})),  # noqa: S704 - escaped for a script element
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library's own script
    )


def _script(documents: dict[str, Chart]) -> str:
    """JSON that can stand inside a script element."""
    text = json.dumps(documents, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation, scale: numbers.Scale) -> dict[str, Any]:
    return {
        "phase": evaluation.phase,
        "title": words.phase_title(report, evaluation),
        "reference": words.reference_line(report, evaluation, scale).split(": ", 1)[1],
        "unit": scale.unit,
        "interval": words.interval_name(report),
        "joint_interval": words.interval_name(report, "interaction"),
        "main": [_row(report, evaluation, effect, scale) for effect in evaluation.effects],
        "interactions": [_row(report, evaluation, effect, scale) for effect in evaluation.interactions],
        "findings": [_finding(report, evaluation, effect, scale) for effect in evaluation.all_effects],
        "more": [_more(effect, scale) for effect in evaluation.all_effects],
        "caption": words.caption(report, evaluation),
        "charts": _charts(report, evaluation),
        "looks": [numbers.look(look, scale) for look in evaluation.decisions],
        "seeds": sorted({run.seed for arm in report.all_arms for run in arm.of(evaluation.phase)}),
        "runs": [
            (arm, [_run(report, run, scale) for run in arm.of(evaluation.phase)]) for arm in report.all_arms
        ],
    }


def _charts(report: StudyReport, evaluation: ReportedEvaluation) -> dict[str, Chart]:
    """Return the charts that there are data for, in the order of reading."""
    found = {
        "forest": effects.forest(report, evaluation),
        "seeds": effects.seeds(report, evaluation),
        "interactions": effects.interactions(report, evaluation),
        "deltas": course.deltas(report, evaluation),
        "curves": course.curves(report, evaluation),
        "variance": course.variance(report, evaluation),
    }
    return {name: chart for name, chart in found.items() if chart is not None}


def _row(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: numbers.Scale
) -> dict[str, Any]:
    runs = report.behind(effect, evaluation.phase)
    return {
        "arm": effect.arm,
        "href": folder(folder_of(report, effect)),
        "delta": numbers.delta(effect, scale),
        "interval": numbers.interval(effect, scale),
        "width": numbers.width(effect, scale),
        "n": f"{effect.n} of {len({run.seed for run in runs})}",
        "seeds": ", ".join(map(str, effect.seeds)),
        "p": numbers.p_value(effect.p),
        "p_holm": numbers.p_value(effect.p_holm),
        "verdict": words.verdict(report, evaluation, effect, scale),
        "colour": palette.colour(effect),
        "resolved": effect.verdict in RESOLVED,
        "time": numbers.duration(math.fsum(run.wall_s for run in runs)),
        "gpu_h": f"{math.fsum(run.gpu_s for run in runs) / 3600:.3g}",
    }


def _finding(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: numbers.Scale
) -> dict[str, Any]:
    arm = report.arm(effect.arm)
    return {
        "text": _emphasised(report, evaluation, effect, scale),
        "changed": settings(arm.change) if arm else "",
        "why": (arm.why if arm else None) or "",
        "href": folder(folder_of(report, effect)),
        "colour": palette.colour(effect),
        "resolved": effect.verdict in RESOLVED,
    }


def _emphasised(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: numbers.Scale
) -> Markup:
    """Return sentence with its names in <em>: marked with private characters, which survive the escaping."""
    from markupsafe import Markup, escape

    style = words.Style(emphasise=lambda name: f"\ue000{name}\ue001")
    safe = escape(words.sentence(report, evaluation, effect, scale, style))
    return Markup(str(safe).replace("\ue000", "<em>").replace("\ue001", "</em>"))  # noqa: S704 - escaped above


def _more(effect: Effect, scale: numbers.Scale) -> list[str]:
    """Return what stands behind an effect's row, for those who want it: a row of the second table."""
    plain, wins, failures = effect.plain, effect.wins, effect.failures
    won = numbers.DASH
    if wins is not None:
        won = f"{numbers.share(wins.share)} [{numbers.share(wins.lo)}, {numbers.share(wins.hi)}]"
    percent = numbers.DASH if effect.percent is None else f"{effect.percent:+.2g} %".replace("-", "−")
    beside = numbers.DASH
    if plain is not None:
        beside = f"{numbers.ends(plain.lo, plain.hi, scale)}, p {numbers.equals(plain.p)}"
    return [
        effect.arm,
        effect.method,
        numbers.ends(effect.wide_lo, effect.wide_hi, scale),
        beside,
        _plain_number(effect.df),
        won,
        percent,
        _plain_number(effect.d_sd),
        _plain_number(effect.g_z),
        numbers.p_value(effect.p_equivalent),
        numbers.p_value(effect.p_permutation),
        numbers.p_value(effect.q),
        numbers.p_value(failures.p if failures else None),
        ", ".join(effect.flags) or numbers.DASH,
    ]


def _plain_number(value: float | None) -> str:
    return numbers.DASH if value is None or not math.isfinite(value) else f"{value:.3g}".replace("-", "−")


def _run(report: StudyReport, run: TrialRecord, scale: numbers.Scale) -> tuple[int, Cell]:
    """Seed and cell of the table of runs: the value, or what became of the run."""
    commit = f", commit {report.provenance.commit[:12]}" if report.provenance.commit else ""
    changed = ", changed code" if run.accepted_code_change else ""
    where = f", on {' and '.join(run.devices)}" if run.devices else ""
    length = "" if run.length is None else f", {numbers.quantity(run.length, report.unit)}"
    title = f"seed {run.seed}, cell {run.cell}, {words.outcome(run)}{length}, {numbers.duration(run.wall_s)}"
    used = run.used and run.value is not None
    return run.seed, {
        "text": scale.value(run.value) if used and run.value is not None else words.outcome(run),
        "href": folder(run.trial_dir) if run.begun else None,
        "title": f"{title}{where}{commit}{changed}",
        "used": used,
    }


def _tuned(report: StudyReport, scale: numbers.Scale, index: int) -> dict[str, Any]:
    tuned = report.tuned[index]
    return {
        "arm": tuned.arm,
        "states": words.counts(tuned.states),
        "settings": settings(tuned.settings) or numbers.DASH,
        "href": folder(tuned.winner.trial_dir) if tuned.winner else None,
        "value": numbers.DASH if tuned.value is None else scale.value(tuned.value),
        "time": numbers.duration(tuned.wall_s),
    }


def _left_out(arm: ArmReport, run: TrialRecord) -> dict[str, Any]:
    return {
        "arm": arm.arm,
        "seed": run.seed,
        "href": folder(run.trial_dir) if run.begun else None,
        "outcome": words.outcome(run),
        "length": numbers.DASH if run.length is None else f"{run.length:g}",
        "attempts": run.attempts,
        "reason": numbers.one_line(run.reason),
    }


def _ledger(report: StudyReport) -> list[list[str]]:
    return [
        [
            entry.arm,
            entry.phase,
            str(entry.state),
            str(entry.runs),
            f"{entry.spent:g}",
            f"{entry.wall_s:,.1f}",
            f"{entry.gpu_s / 3600:.3g}",
        ]
        for entry in report.ledger.entries
    ]


def _total(report: StudyReport) -> list[str]:
    cost = report.ledger
    runs = cost.runs(*TrialState)
    return ["all", "", "", str(runs), f"{cost.spent:g}", f"{cost.wall_s:,.1f}", f"{cost.gpu_s / 3600:.3g}"]
