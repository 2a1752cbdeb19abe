"""`report.md`: the report as Markdown, with a link from every arm and every run to its trials."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.record.state import TrialRecord
from orchestrator.report import numbers, words
from orchestrator.report.model import Comparison, ReportedEvaluation, StudyReport
from orchestrator.stats.results import RESOLVED, Effect


def to_markdown(report: StudyReport) -> str:
    """Return the whole report; links are relative to the study's directory, where `report.md` lies."""
    scale = numbers.scale_of(report)
    reference = words.reference_line(report, report.first, scale).split(": ", 1)[1]
    lines = (words.cost_line(report), words.pairing_line(report))
    blocks = [
        f"# {plain(report.study)}",
        *(f"> **{line}**" for line in words.headline(report)),
        f"Metric: {plain(report.metric)} ({numbers.better(report)} is better). "
        f"Reference {link(report.reference.arm, report.reference.trial_dir)}: {plain(reference)}. "
        f"Full length: {numbers.quantity(report.max_length, report.unit)}.",
        f"{plain(words.settings_line(report))}; {plain(words.provenance_line(report))}.",
        *(block for evaluation in report.evaluations for block in _evaluation(report, evaluation, scale)),
        *_tuning(report, scale),
        "## Runs",
        *(_runs(report, evaluation, scale) for evaluation in report.evaluations),
        *_left_out(report),
        "## Cost",
        "\n".join(f"- {plain(line)}" for line in lines if line),
        _ledger(report),
        *_aliases(report),
        *(["## Notes", "\n".join(f"- {plain(note)}" for note in report.notes)] if report.notes else []),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation, scale: numbers.Scale) -> list[str]:
    title = words.phase_title(report, evaluation)
    found = [
        f"## Effects{f': {title}' if title else ''}",
        _effects(report, evaluation, evaluation.effects, scale),
        f"_{plain(words.caption(report, evaluation))}._",
    ]
    if evaluation.interactions:
        found += ["### Interactions", _effects(report, evaluation, evaluation.interactions, scale)]
    found.append("\n".join(f"- {_finding(report, evaluation, e, scale)}" for e in evaluation.all_effects))
    if evaluation.decisions:
        found += ["### Looks", _looks(evaluation, scale)]
    return found


def _effects(
    report: StudyReport, evaluation: ReportedEvaluation, effects: tuple[Effect, ...], scale: numbers.Scale
) -> str:
    tested = any(effect.p is not None for effect in effects)
    interval = [words.interval_name(report, effects[0].kind)] if tested else []
    tests = ["p", "Holm p"] if tested else []
    head = ["arm", f"Δ{scale.in_brackets}", *interval, "n", *tests, "verdict", "time", "GPU-hours"]
    return table(head, [_effect(report, evaluation, effect, scale, tested) for effect in effects])


def _effect(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: numbers.Scale, tested: bool
) -> list[str]:
    mark = "**" if effect.verdict in RESOLVED else ""
    interval = [plain(numbers.interval(effect, scale))] if tested else []
    tests = [plain(numbers.p_value(p)) for p in (effect.p, effect.p_holm)] if tested else []
    runs = report.behind(effect, evaluation.phase)
    return [
        link(effect.arm, folder_of(report, effect)),
        f"{mark}{numbers.delta(effect, scale)}{mark}",
        *interval,
        f"{effect.n} of {len({run.seed for run in runs})}",
        *tests,
        f"{mark}{plain(words.verdict(report, evaluation, effect, scale))}{mark}",
        numbers.duration(sum(run.wall_s for run in runs)),
        f"{sum(run.gpu_s for run in runs) / 3600:.3g}",
    ]


def folder_of(report: StudyReport, effect: Effect) -> str:
    """Return the directory of an effect's trials, relative to the study's."""
    arm = None if report.averaged else report.arm(effect.arm)
    return arm.trial_dir if arm else "trials"


def _finding(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: numbers.Scale
) -> str:
    """Return the effect's sentence, what the arm changed and which question it was to answer."""
    style = words.Style(emphasise=lambda name: f"*{plain(name)}*", escape=plain)
    text = words.sentence(report, evaluation, effect, scale, style)
    arm = report.arm(effect.arm)
    if arm is None:
        return text
    text += f" Changed: {_code(settings(arm.change))}." if arm.change else ""
    return text + (f" Question: {plain(arm.why)}" if arm.why else "")


def settings(change: Mapping[str, Any]) -> str:
    """`optim.lr = 0.1, model.width = 64`."""
    return ", ".join(f"{key} = {json.dumps(value, default=str)}" for key, value in change.items())


def _looks(evaluation: ReportedEvaluation, scale: numbers.Scale) -> str:
    head = ["seeds", "arm", "n", "Δ", "interval", "p", "level", "chance to resolve", "decision"]
    return table(head, [list(map(plain, numbers.look(look, scale))) for look in evaluation.decisions])


def _tuning(report: StudyReport, scale: numbers.Scale) -> list[str]:
    if not report.tuned:
        return []
    rows = []
    for tuned in report.tuned:
        states = words.counts(tuned.states)
        winner = (
            link(_code(settings(tuned.settings)), tuned.winner.trial_dir, raw=True) if tuned.winner else "–"
        )
        value = "–" if tuned.value is None else scale.value(tuned.value)
        rows.append([plain(tuned.arm), states, winner, value, numbers.duration(tuned.wall_s)])
    found = ["## Search", table(["arm", "samples", "winner", "its value", "time"], rows)]
    if report.tuning_dependent:
        found.append("\n".join(f"- {plain(text)}" for text in words.tuning_lines(report, scale)))
    return found


def _runs(report: StudyReport, evaluation: ReportedEvaluation, scale: numbers.Scale) -> str:
    by_arm = [(arm, {run.seed: run for run in arm.of(evaluation.phase)}) for arm in report.all_arms]
    seeds = sorted({seed for _, runs in by_arm for seed in runs})
    rows = [
        [
            link(arm.arm, arm.trial_dir),
            *(_run(runs[seed], scale) if seed in runs else "" for seed in seeds),
        ]
        for arm, runs in by_arm
        if runs
    ]
    return table(["arm", *(f"seed {seed}" for seed in seeds)], rows) if rows else ""


def _run(run: TrialRecord, scale: numbers.Scale) -> str:
    text = scale.value(run.value) if run.used and run.value is not None else words.outcome(run)
    return link(text, run.trial_dir) if run.begun else plain(text)


def _left_out(report: StudyReport) -> list[str]:
    rows = [
        [
            link(arm.arm, run.trial_dir) if run.begun else plain(arm.arm),
            str(run.seed),
            plain(words.outcome(run)),
            "–" if run.length is None else f"{run.length:g}",
            str(run.attempts),
            plain(numbers.one_line(run.reason)),
        ]
        for arm, run in report.left_out
    ]
    if not rows:
        return []
    head = ["arm", "seed", "outcome", f"at ({report.unit})", "attempts", "reason"]
    return [
        "## In no effect",
        "These runs ended and are never averaged with finished ones.",
        table(head, rows),
    ]


def _ledger(report: StudyReport) -> str:
    rows = [
        [
            plain(entry.arm),
            entry.phase,
            str(entry.state),
            str(entry.runs),
            f"{entry.spent:g}",
            numbers.duration(entry.wall_s),
            f"{entry.gpu_s / 3600:.3g}",
        ]
        for entry in report.ledger.entries
    ]
    head = ["arm", "phase", "state", "runs", f"trained ({report.unit})", "time", "GPU-hours"]
    return table(head, rows)


def _aliases(report: StudyReport) -> list[str]:
    if not report.aliases:
        return []
    lines = [f"- {' = '.join(plain(name) for name in group)}" for group in report.aliases]
    return ["## Aliases", "Effects that this design cannot tell apart:", "\n".join(lines)]


def comparison_markdown(found: Comparison) -> str:
    """Two studies side by side."""
    scale = numbers.scale_of(found.first)
    first, second = words.compared_names(found)
    head = ["arm", first, second, "difference", "method", "verdicts"]
    lines = words.comparison_lines(found)
    blocks = [
        f"# {plain(first)} and {plain(second)}",
        table(
            [plain(name) for name in head],
            [[plain(cell) for cell in row] for row in words.comparison_rows(found, scale)],
        ),
        "\n".join(f"- {plain(line)}" for line in lines),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table; the cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def link(text: str, folder: str, *, raw: bool = False) -> str:
    """Return a link to a directory; `raw`: the text is Markdown already."""
    return f"[{text if raw else plain(text)}]({quote(folder)}/)"


def plain(text: str) -> str:
    """Text that Markdown and HTML leave alone."""
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", numbers.one_line(text, 1000))


def _code(text: str) -> str:
    clean = numbers.one_line(text, 1000).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", clean)), default=0))
    return f"{fence} {clean} {fence}" if "`" in clean else f"{fence}{clean}{fence}"
