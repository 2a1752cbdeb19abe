"""The report in a terminal: rich renderables that stay readable at 80 columns."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.report import numbers, words
from orchestrator.report.model import Comparison, ReportedEvaluation, StudyReport
from orchestrator.stats.results import EQUIVALENT, FAILS, HELPS, HURTS, RESOLVED, SIZE_UNCLEAR, Effect

_MOST_ROWS = 20
_STYLES = {
    HURTS: "bold red",
    HELPS: "bold green",
    FAILS: "bold red",
    SIZE_UNCLEAR: "bold",
    EQUIVALENT: "bold",
}


def render(report: StudyReport) -> Group:
    """Return the whole report; where the study is local, arm names link to their trial directories."""
    scale = numbers.scale_of(report)
    parts: list[RenderableType] = [
        *(Text(line, style="bold yellow") for line in words.headline(report)),
        _title(report, scale),
    ]
    for evaluation in report.evaluations:
        parts += [Text(), *_evaluation(report, evaluation, scale)]
    parts += [Text(), *_tuning(report, scale)] if report.tuned else []
    parts += [Text(), *_left_out(report)] if report.left_out else []
    closing = [words.cost_line(report), words.pairing_line(report), *_aliases(report), *report.notes]
    parts += [Text(), *(_indented(line) for line in closing if line)]
    parts += [Text(f"  trials: {report.location}/trials/<arm>/seed-<n>", style="dim", overflow="fold")]
    return Group(*parts)


def _evaluation(
    report: StudyReport, evaluation: ReportedEvaluation, scale: numbers.Scale
) -> list[RenderableType]:
    title = words.phase_title(report, evaluation)
    parts: list[RenderableType] = [Text(f"Effects: {title}", style="bold")] if title else []
    if len(report.evaluations) > 1:
        parts.append(Text(words.reference_line(report, evaluation, scale)))
    parts.append(effects_table(report, evaluation, evaluation.effects, scale))
    parts.append(Text(words.caption(report, evaluation), style="dim italic"))
    if evaluation.interactions:
        parts += [Text(), Text("Interactions: beyond the sum of both", style="bold")]
        parts.append(effects_table(report, evaluation, evaluation.interactions, scale))
    said = [
        _indented(words.sentence(report, evaluation, effect, scale))
        for effect in evaluation.all_effects
        if effect.verdict in RESOLVED | {FAILS}
    ]
    return [*parts, Text(), *said] if said else parts


def effects_table(
    report: StudyReport, evaluation: ReportedEvaluation, effects: tuple[Effect, ...], scale: numbers.Scale
) -> Table:
    """Arm, Δ with its interval, n of the planned seeds, Holm's p and verdict; one row per effect."""
    unit = f" [{scale.unit}]" if scale.unit else ""
    table = _table()
    table.add_column("arm", overflow="fold", min_width=8, max_width=32)
    table.add_column(Text(f"Δ{unit}"), justify="right", no_wrap=True)
    shown = any(effect.lo is not None for effect in effects), any(effect.p is not None for effect in effects)
    if shown[0]:
        table.add_column(f"{numbers.confidence(report)} CI", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    if shown[1]:
        table.add_column("Holm p", justify="right", no_wrap=True)
    table.add_column("verdict", min_width=10)
    for effect in effects:
        table.add_row(*_row(report, evaluation, effect, scale, shown))
    return table


def _row(
    report: StudyReport,
    evaluation: ReportedEvaluation,
    effect: Effect,
    scale: numbers.Scale,
    shown: tuple[bool, bool],
) -> list[Text]:
    style = _STYLES.get(effect.verdict, "")
    cells = [_linked(report, effect), Text(numbers.delta(effect, scale), style=style)]
    if shown[0]:
        cells.append(Text(numbers.interval(effect, scale)))
    seeds = {run.seed for run in report.behind(effect, evaluation.phase)}
    cells.append(Text(f"{effect.n}/{len(seeds)}"))
    if shown[1]:
        cells.append(Text(numbers.p_value(effect.p_holm)))
    return [*cells, Text(words.verdict(report, evaluation, effect, scale), style=style)]


def _linked(report: StudyReport, effect: Effect) -> Text:
    text = Text(numbers.one_line(effect.arm))
    arm = report.arm(effect.arm)
    if report.is_local and arm is not None:
        text.stylize(f"link {Path(report.location, arm.trial_dir).as_uri()}")
    return text


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)


def _title(report: StudyReport, scale: numbers.Scale) -> Text:
    text = Text(numbers.one_line(report.study), style="bold")
    text.append(f"  {numbers.one_line(report.metric)}, {numbers.better(report)} is better", style="not bold")
    if len(report.evaluations) > 1:
        return text  # every evaluation has a reference of its own
    return text.append(f"\n{words.reference_line(report, report.first, scale)}", style="not bold")


def _tuning(report: StudyReport, scale: numbers.Scale) -> list[RenderableType]:
    """Return the search: samples per arm and what the winner chose."""
    table = _table()
    table.add_column("search in", overflow="fold", min_width=8, max_width=32)
    table.add_column("samples", no_wrap=True)
    table.add_column("winner", overflow="fold")
    table.add_column("its value", justify="right", no_wrap=True)
    for tuned in report.tuned[:_MOST_ROWS]:
        states = words.counts(tuned.states)
        chosen = ", ".join(f"{key}={_short(value)}" for key, value in tuned.settings.items())
        value = numbers.DASH if tuned.value is None else scale.value(tuned.value)
        table.add_row(*map(Text, (numbers.one_line(tuned.arm), states, chosen or numbers.DASH, value)))
    hidden = len(report.tuned) - _MOST_ROWS
    more = [Text(f"and {hidden} more rows, all in report.md")] if hidden > 0 else []
    return [table, *more, *(_indented(line) for line in words.tuning_lines(report, scale))]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else numbers.one_line(str(value), 40)


def _aliases(report: StudyReport) -> list[str]:
    if not report.aliases:
        return []
    return [f"cannot be told apart: {'; '.join(' = '.join(group) for group in report.aliases)}"]


def render_comparison(found: Comparison) -> Group:
    """Two studies side by side, one row per arm."""
    scale = numbers.scale_of(found.first)
    table = _table()
    for name in ("arm", *words.compared_names(found), "difference", "method", "verdicts"):
        table.add_column(Text(numbers.one_line(name)), overflow="fold")
    for row in words.comparison_rows(found, scale):
        style = {"DISAGREE": "bold red", "differ": "yellow"}.get(row[-1], "")
        table.add_row(*map(Text, map(numbers.one_line, row[:-1])), Text(row[-1], style=style))
    return Group(table, Text(), *(_indented(line) for line in words.comparison_lines(found)))


def _left_out(report: StudyReport) -> list[RenderableType]:
    """Return the runs that are in no effect; seeds of an arm that ended alike share a row."""
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for arm, run in report.left_out:
        length = "–" if run.length is None else f"{run.length:g}"
        key = (numbers.one_line(arm.arm), words.outcome(run), length, numbers.one_line(run.reason, 160))
        alike.setdefault(key, []).append(str(run.seed))
    table = _table()
    table.add_column("arm", overflow="fold", min_width=8, max_width=32)
    table.add_column("seed", overflow="fold", max_width=14)
    table.add_column("outcome", no_wrap=True)
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for (name, outcome, length, reason), seeds in list(alike.items())[:_MOST_ROWS]:
        table.add_row(*map(Text, (name, " ".join(seeds), outcome, length, reason)))
    count = len(report.left_out)
    title = (
        f"{count} of {report.total} runs are in no effect (at: length in {report.unit.removesuffix('s')}s)"
    )
    hidden = len(alike) - _MOST_ROWS
    more = [Text(f"and {hidden} more rows, all in report.md")] if hidden > 0 else []
    return [Text(title, style="bold"), table, *more]


def _indented(line: str) -> Padding:
    return Padding(Text(line), (0, 0, 0, 2))
