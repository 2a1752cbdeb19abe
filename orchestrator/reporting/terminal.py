"""The report in a terminal: rich renderables that stay readable at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.reporting import numbers, words
from orchestrator.reporting.headline import headline
from orchestrator.reporting.model import ArmReport, Comparison, ReportedEvaluation, StudyReport
from orchestrator.reporting.said import Levels, SaidEffect, said
from orchestrator.stats.results import EQUIVALENT, FAILS, HELPS, HURTS, SIZE_UNCLEAR

_MOST_ROWS = 20
_ROOM = {0: (8, 10), 1: (16, 11)}
"""Columns of absolute numbers -> characters that names and verdicts need beside them; of more of them:"""
_ROOMY = (20, 18)
_STYLES = {
    HURTS: "bold red",
    HELPS: "bold green",
    FAILS: "bold red",
    SIZE_UNCLEAR: "bold",
    EQUIVALENT: "bold",
}


def render(report: StudyReport) -> Group:
    """Return the whole report; where the study is local, arm names link to their trial directories."""
    parts: list[RenderableType] = [
        *(Text(line, style="bold yellow") for line in words.warnings(report)),
        _title(report),
        *(Text(line, style="bold") for line in [headline(report)] if line),
    ]
    for evaluation in report.evaluations:
        parts += [Text(), *_evaluation(report, evaluation)]
    parts += [Text(), *_tuning(report)] if report.tuned else []
    parts += [Text(), *_left_out(report)] if report.left_out else []
    groups = "; ".join(" = ".join(group) for group in report.aliases)
    aliases = [f"cannot be told apart: {groups}"] if groups else []
    aliases += words.names(report)
    closing = [words.cost_line(report), words.pairing_line(report), *aliases, *report.all_notes]
    parts += [Text(), *(_indented(line) for line in closing if line)]
    parts += (
        []
        if not report.planned
        else [Text(f"  trials: {report.location}/trials/<arm>/seed-<n>", style="dim", overflow="fold")]
    )
    return Group(*parts)


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation) -> list[RenderableType]:
    title = words.phase_title(report, evaluation)
    main = said(report, evaluation, evaluation.effects)
    joint = said(report, evaluation, evaluation.interactions)
    parts: list[RenderableType] = [Text(f"Effects: {title}", style="bold")] if title else []
    if len(report.evaluations) > 1:
        parts.append(Text(words.reference_line(report, evaluation)))
    parts += [
        _with_levels(report, main, Levels(report, evaluation)),
        Text(words.caption(report, evaluation), style="dim italic"),
    ]
    if joint:
        heading = Text("Interactions: beyond the sum of both", style="bold")
        parts += [Text(), heading, _effects(report, joint)]
    told = [_indented(one.sentence()) for one in main + joint if one.told]
    return [*parts, Text(), *told] if told else parts


@dataclass(frozen=True)
class _Fitting:
    """The first of these tables that the width has room for, with what belongs below it; else `lines`."""

    tables: Sequence[tuple[Table, Sequence[RenderableType]]]
    lines: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table, below in self.tables:
            if _least_width(table) <= options.max_width:
                yield from (table, *below)
                return
        yield from map(Text, self.lines)


def _least_width(table: Table) -> int:
    """Return the characters that a table needs when only what may be folded is."""
    width = 0
    for column in table.columns:
        texts = (
            text.plain if isinstance(text, Text) else str(text) for text in (column.header, *column.cells)
        )
        longest = max(map(cell_len, texts))
        width += longest if column.no_wrap else min(longest, column.min_width or longest)
    return width + 2 * (len(table.columns) - 1)


def _with_levels(report: StudyReport, effects: Sequence[SaidEffect], levels: Levels) -> RenderableType:
    """Return the table of effects with the absolute numbers of the arms, as far as the width allows.

    What has no room there stands in a table below.
    """
    every = len(levels.heads)
    found: list[tuple[Table, Sequence[RenderableType]]] = []
    for shown in dict.fromkeys((every, 1)) if levels.in_rows else ():
        below = (Text(), _alone(report, levels, shown)) if shown < every else ()
        found.append((_effects(report, effects, levels, shown), below))
    alone = _alone(report, levels, 0)
    found.append((_effects(report, effects), (Text(), alone)))
    lines = [
        f"{one.name}: {one.difference}n = {one.effect.n}/{one.planned}, {one.verdict}" for one in effects
    ]
    return _Fitting(found, [*lines, "", *alone.lines])


def _alone(report: StudyReport, levels: Levels, first: int) -> _Fitting:
    """Return the absolute numbers from the column at `first` on."""
    table = _table("mean ± SD")
    for head in levels.heads[first:]:
        table.add_column(Text(head), justify="right", no_wrap=True)
    lines = []
    for arm, columns in levels.arms():
        table.add_row(_linked(report, arm, arm.called), *map(Text, columns[first:]))
        named = zip(levels.heads[first:], columns[first:], strict=True)
        lines.append(f"{arm.called}: {', '.join(f'{head} {text}' for head, text in named)}")
    return _Fitting([(table, ())], lines)


def _effects(
    report: StudyReport, effects: Sequence[SaidEffect], levels: Levels | None = None, shown: int = 0
) -> Table:
    """Arm, Δ with its interval, n of the planned seeds, Holm's p and verdict; one row per effect.

    With the first `shown` of the absolute numbers, and a row for the reference in front.
    """
    unit = f" [{report.scale.unit}]" if report.scale.unit else ""
    heads = list(map(Text, levels.heads[:shown])) if levels else []
    bounded = any(one.effect.lo is not None for one in effects)
    tested = any(one.effect.p is not None for one in effects)
    name_room, verdict_room = _ROOM.get(shown, _ROOMY)
    longest = max((len(one.name) for one in effects), default=0)
    table = _table("arm", least=min(name_room, longest))
    right: dict[str, Any] = {"justify": "right", "no_wrap": True}
    for head in heads[:1]:
        table.add_column(head, **right)
    table.add_column(Text(f"Δ{unit}"), **right)
    if bounded:
        table.add_column(f"{numbers.confidence(report)} CI", **right)
    table.add_column("n", **right)
    if tested:
        table.add_column("Holm p", **right)
    table.add_column("verdict", min_width=verdict_room)
    for head in heads[1:]:
        table.add_column(head, **right)
    if levels and heads:
        numbers_of = list(map(Text, levels.reference[:shown]))
        dashes = [Text(numbers.DASH)] * (1 + bounded)
        blanks = [Text()] * tested
        name = _linked(report, report.reference, report.reference.called)
        inside = (*dashes, Text(levels.n), *blanks, Text("reference", style="dim"))
        table.add_row(name, numbers_of[0], *inside, *numbers_of[1:])
    for one in effects:
        style = _STYLES.get(one.effect.verdict, "")
        reached = list(map(Text, levels.of(one.effect.arm)[:shown])) if levels else []
        table.add_row(
            _linked(report, report.arm(one.effect.arm), one.name),
            *reached[:1],
            Text(one.delta, style=style),
            *([Text(one.interval)] if bounded else []),
            Text(f"{one.effect.n}/{one.planned}"),
            *([Text(one.p_holm)] if tested else []),
            Text(one.verdict, style=style),
            *reached[1:],
        )
    return table


def _linked(report: StudyReport, arm: ArmReport | None, name: str) -> Text:
    text = Text(numbers.one_line(name))
    if report.is_local and arm is not None:
        text.stylize(f"link {Path(report.location, arm.trial_dir).as_uri()}")
    return text


def _table(first: str, least: int = 8) -> Table:
    """Return a table whose first column holds names, on at least as many characters."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    table.add_column(first, overflow="fold", min_width=max(8, least), max_width=32)
    return table


def _title(report: StudyReport) -> Text:
    text = Text(numbers.one_line(report.study), style="bold")
    text.append(f"  {numbers.one_line(report.metric)}, {numbers.better(report)} is better", style="not bold")
    if len(report.evaluations) > 1:
        return text  # every evaluation has a reference of its own
    return text.append(f"\n{words.reference_line(report, report.first)}", style="not bold")


def _tuning(report: StudyReport) -> list[RenderableType]:
    """Return the search: samples per arm and what the winner chose."""
    table = _table("search in")
    table.add_column("samples", no_wrap=True)
    table.add_column("winner", overflow="fold")
    table.add_column(
        f"its {numbers.one_line(report.selected_by or 'value', 20)}", justify="right", no_wrap=True
    )
    rows = []
    for tuned in report.tuned:
        chosen = ", ".join(f"{key}={_short(value)}" for key, value in tuned.settings.items())
        value = report.scale.value(tuned.value)
        rows.append((numbers.one_line(tuned.arm), words.counts(tuned.states), chosen or numbers.DASH, value))
    return [*_filled(table, rows), *(_indented(line) for line in words.tuning_lines(report))]


def _filled(table: Table, rows: Sequence[tuple[str, ...]]) -> list[RenderableType]:
    """Return the table with as many of the rows as a terminal should show."""
    for row in rows[:_MOST_ROWS]:
        table.add_row(*map(Text, row))
    hidden = len(rows) - _MOST_ROWS
    return [table, *([Text(f"and {hidden} more rows, all in report.md")] if hidden > 0 else [])]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else numbers.one_line(str(value), 40)


def render_comparison(found: Comparison) -> Group:
    """Two studies side by side, one row per arm."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for name in words.comparison_head(found):
        table.add_column(Text(numbers.one_line(name)), overflow="fold")
    for row in words.comparison_rows(found):
        style = {"DISAGREE": "bold red", "differ": "yellow"}.get(row[-1], "")
        table.add_row(*map(Text, map(numbers.one_line, row[:-1])), Text(row[-1], style=style))
    return Group(table, Text(), *(_indented(line) for line in words.comparison_lines(found)))


def _left_out(report: StudyReport) -> list[RenderableType]:
    """Return the runs that are in no effect; seeds of an arm that ended alike share a row."""
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for arm, run in report.left_out:
        outcome, length, *_ = words.left_out_row(run)
        key = (numbers.one_line(arm.arm), outcome, length, numbers.one_line(run.reason, 160))
        alike.setdefault(key, []).append(str(run.seed))
    table = _table("arm")
    table.add_column("seed", overflow="fold", max_width=14)
    table.add_column("outcome", no_wrap=True)
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    rows = [(name, " ".join(seeds), *rest) for (name, *rest), seeds in alike.items()]
    runs, unit = f"{len(report.left_out)} of {report.total} runs", report.unit.removesuffix("s")
    title = Text(f"{runs} are in no effect (at: length in {unit}s)", style="bold")
    return [title, *_filled(table, rows)]


def _indented(line: str) -> Padding:
    return Padding(Text(line), (0, 0, 0, 2))
