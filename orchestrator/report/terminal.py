"""The report in a terminal: rich renderables that stay readable at 80 columns."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.report import words
from orchestrator.report.model import FAILS, ArmReport, StudyReport
from orchestrator.stats.effects import HELPS, HURTS

_MOST_ROWS = 20
_STYLES = {HURTS: "bold red", HELPS: "bold green", FAILS: "bold red"}


def render(report: StudyReport) -> Group:
    """The whole report; where the study is local, arm names link to their trial directories."""
    scale = words.scale_of(report)
    parts: list[RenderableType] = [
        *(Text(line, style="bold yellow") for line in words.headline(report)),
        _title(report, scale),
        Text(),
        effects_table(report, scale),
        _caption(report),
    ]
    said = [
        _indented(words.sentence(report, arm, scale))
        for arm in report.arms
        if arm.effect and arm.effect.verdict in (HURTS, HELPS, FAILS)
    ]
    parts += [Text(), *said] if said else []
    parts += [Text(), *_left_out(report)] if report.left_out else []
    closing = [words.cost_line(report), words.pairing_line(report), *report.notes]
    parts += [Text(), *(_indented(line) for line in closing if line)]
    parts += [Text(f"{report.location}/trials/<arm>/seed-<n>", style="dim", overflow="fold")]
    return Group(*parts)


def effects_table(report: StudyReport, scale: words.Scale) -> Table:
    """Arm, Δ with its interval, n of the planned seeds, Holm's p and verdict; one row per arm."""
    unit = f" [{scale.unit}]" if scale.unit else ""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    table.add_column("arm", overflow="fold", min_width=8, max_width=32)
    table.add_column(Text(f"Δ{unit}"), justify="right", no_wrap=True)
    if any(effect.lo is not None for effect in report.effects):
        table.add_column(f"{words.confidence(report)} CI", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    if any(effect.p is not None for effect in report.effects):
        table.add_column("Holm p", justify="right", no_wrap=True)
    table.add_column("verdict", min_width=10)
    for arm in report.arms:
        table.add_row(*_row(report, arm, scale))
    return table


def _row(report: StudyReport, arm: ArmReport, scale: words.Scale) -> list[Text]:
    effect = arm.effect
    if effect is None:
        return [Text(arm.arm)]
    style = _STYLES.get(effect.verdict, "")
    cells = [
        _linked(report, arm),
        Text("–" if effect.delta is None else scale.number(effect.delta, sign=True), style=style),
    ]
    if any(other.lo is not None for other in report.effects):
        cells.append(Text(words.interval(effect, scale)))
    cells.append(Text(f"{effect.n}/{len(arm.runs)}"))
    if any(other.p is not None for other in report.effects):
        cells.append(Text(words.p_value(effect.p_holm)))
    return [*cells, Text(words.verdict(arm), style=style)]


def _linked(report: StudyReport, arm: ArmReport) -> Text:
    text = Text(words.one_line(arm.arm))
    if report.is_local:
        text.stylize(f"link {Path(report.location, arm.trial_dir).as_uri()}")
    return text


def _title(report: StudyReport, scale: words.Scale) -> Text:
    better = "higher" if report.mode == "max" else "lower"
    text = Text(words.one_line(report.study), style="bold")
    text.append(f"  {words.one_line(report.metric)}, {better} is better\n", style="not bold")
    return text.append(words.reference_line(report, scale), style="not bold")


def _caption(report: StudyReport) -> Text:
    return Text(words.caption(report), style="dim italic")


def _left_out(report: StudyReport) -> list[RenderableType]:
    """The runs that are in no effect; seeds of an arm that ended alike share a row."""
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for arm, run in report.left_out:
        length = "–" if run.length is None else f"{run.length:g}"
        key = (words.one_line(arm.arm), words.outcome(run), length, words.one_line(run.reason, 160))
        alike.setdefault(key, []).append(str(run.seed))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
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
