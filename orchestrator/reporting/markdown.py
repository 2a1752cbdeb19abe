"""`report.md`: the report as Markdown, with a link from every arm and every run to its trials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from orchestrator.record.state import TrialRecord
from orchestrator.reporting import numbers, words
from orchestrator.reporting.bibliography import in_words
from orchestrator.reporting.glossary import glossary
from orchestrator.reporting.headline import headline
from orchestrator.reporting.methods import with_new_data
from orchestrator.reporting.model import Comparison, ReportedEvaluation, StudyReport
from orchestrator.reporting.said import Levels, SaidEffect, Style, said
from orchestrator.study.methods import cited


def to_markdown(report: StudyReport) -> str:
    """Return the whole report; links are relative to the study's directory, where `report.md` lies."""
    reference = words.reference_line(report, report.first).split(": ", 1)[1]
    lines = (words.cost_line(report), words.pairing_line(report))
    blocks = [
        f"# {plain(report.study)}",
        *(f"> **{line}**" for line in words.warnings(report)),
        *(f"**{plain(line)}**" for line in [headline(report)] if line),
        f"Metric: {plain(report.metric)} ({numbers.better(report)} is better). "
        f"Reference {link(report.reference.arm, report.reference.trial_dir)}: {plain(reference)}. "
        f"Full length: {numbers.quantity(report.max_length, report.unit)}.",
        f"{plain(words.settings_line(report))}; {plain(words.provenance_line(report))}.",
        *(block for evaluation in report.evaluations for block in _evaluation(report, evaluation)),
        *_tuning(report),
        "## Runs",
        *(_runs(report, evaluation) for evaluation in report.evaluations),
        *_left_out(report),
        "## Cost",
        _listed(line for line in lines if line),
        _ledger(report),
    ]
    if report.aliases:
        groups = (" = ".join(group) for group in report.aliases)
        blocks += ["## Aliases", "Effects that this design cannot tell apart:", _listed(groups)]
    return _document([*blocks, *_methods(report), *_noted(report)])


def _methods(report: StudyReport) -> Iterator[str]:
    """Yield how the study was done, as a paper says it, and what that cites."""
    paragraphs = with_new_data(report)
    if paragraphs:
        yield "## Methods"
        yield from (f"**{one.about}.** {plain(one.text, 10_000)}" for one in paragraphs)
        yield "References (also in `references.bib`):"
        yield _listed(map(in_words, cited(paragraphs)))


def effects_markdown(report: StudyReport) -> str:
    """Return the effects of a table of results, and what must be known to read them: no runs, no costs."""
    blocks = [
        f"# {plain(report.study)}",
        *(f"**{plain(line)}**" for line in [headline(report)] if line),
        f"Metric: {plain(report.metric)} ({numbers.better(report)} is better). "
        f"{plain(words.settings_line(report))}.",
        *(block for evaluation in report.evaluations for block in _evaluation(report, evaluation)),
        *_noted(report, *(line for line in [words.pairing_line(report)] if line)),
    ]
    return _document(blocks)


def _noted(report: StudyReport, *more: str) -> list[str]:
    """Return notes, then the words that are used."""
    lines = [*more, *report.all_notes]
    explained = "\n".join(f"- **{word}**: {plain(text)}." for word, text in glossary(report))
    return [*(["## Notes", _listed(lines)] if lines else []), "## Words", explained]


def _document(blocks: Iterable[str]) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _evaluation(report: StudyReport, evaluation: ReportedEvaluation) -> list[str]:
    title = words.phase_title(report, evaluation)
    main = said(report, evaluation, evaluation.effects)
    joint = said(report, evaluation, evaluation.interactions)
    levels = Levels(report, evaluation)
    found = [
        f"## Effects{f': {title}' if title else ''}",
        _effects(report, main, "main", levels if levels.in_rows else None),
        f"_{plain(words.caption(report, evaluation))}._",
        *([] if levels.in_rows else ["### Means ± SD", _levels(levels)]),
        *(["### Interactions", _effects(report, joint, "interaction")] if joint else []),
        "\n".join(f"- {_finding(report, one)}" for one in main + joint),
    ]
    if evaluation.decisions:
        looks = [list(map(plain, words.look_row(report, look))) for look in evaluation.decisions]
        found += ["### Looks", table(words.LOOK_HEAD, looks)]
    return found


def _effects(
    report: StudyReport, effects: Sequence[SaidEffect], kind: str, levels: Levels | None = None
) -> str:
    """Return the table; with `levels` what each arm has reached, and the reference in the first row."""
    tested = any(one.effect.p is not None for one in effects)
    interval = [words.interval_name(report, kind)] if tested else []
    new_data = any(one.new_data for one in effects)
    interval += [words.NEW_DATA] if new_data else []
    tests = ["p", "Holm p"] if tested else []
    value, *beside = map(plain, levels.heads) if levels else [""]
    values = [value] if levels else []
    costs = ["time", "GPU-hours"] if report.planned else []
    head = ["arm", *values, f"Δ{report.scale.in_brackets}", *interval, "n", *tests, "verdict", *beside]
    rows = [_effect(one, tested, new_data, levels) for one in effects]
    if levels:
        value, *others = map(plain, levels.reference)
        reference = link(report.reference.called, report.reference.trial_dir)
        dashes = [numbers.DASH] * (1 + tested + new_data)
        n = levels.n.replace("/", " of ")
        first = [reference, value, *dashes, n, *[""] * len(tests), "reference", *others, *[""] * len(costs)]
        rows = [first, *rows]
    return table([*head, *costs], rows)


def _effect(one: SaidEffect, tested: bool, new_data: bool, levels: Levels | None) -> list[str]:
    mark = "**" if one.resolved else ""
    interval = [plain(one.interval)] if tested else []
    interval += [plain(one.interval_of_new_data)] if new_data else []
    tests = [plain(one.p), plain(one.p_holm)] if tested else []
    columns = [plain(text) for text in levels.of(one.effect.arm)] if levels else []
    return [
        link(one.name, one.folder),
        *columns[:1],
        f"{mark}{one.delta}{mark}",
        *interval,
        f"{one.effect.n} of {one.planned}",
        *tests,
        f"{mark}{plain(one.verdict)}{mark}",
        *columns[1:],
        *([one.time, one.gpu_h] if one.report.planned else []),
    ]


def _levels(levels: Levels) -> str:
    rows = [[link(arm.called, arm.trial_dir), *map(plain, columns)] for arm, columns in levels.arms()]
    return table(["arm", *map(plain, levels.heads)], rows)


def _finding(report: StudyReport, one: SaidEffect) -> str:
    """Return the effect's sentence, what the arm changed and which question it was to answer."""
    text = one.sentence(Style(emphasise=lambda name: f"*{plain(name)}*", escape=plain))
    arm = report.arm(one.effect.arm)
    if arm is None:
        return text
    text += f" Changed: {_code(words.settings(arm.change))}." if arm.change else ""
    return text + (f" Question: {plain(arm.why)}" if arm.why else "")


def _tuning(report: StudyReport) -> list[str]:
    if not report.tuned:
        return []
    rows = []
    for tuned in report.tuned:
        chosen = _code(words.settings(tuned.settings))
        winner = link(chosen, tuned.winner.trial_dir, raw=True) if tuned.winner else numbers.DASH
        value, time = report.scale.value(tuned.value), numbers.duration(tuned.wall_s)
        rows.append([plain(tuned.arm), words.counts(tuned.states), winner, value, time])
    found = [
        "## Search",
        table(["arm", "samples", "winner", f"its {plain(report.selected_by or 'value')}", "time"], rows),
    ]
    return [*found, _listed(words.tuning_lines(report))]


def _runs(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    by_arm = [(arm, {run.seed: run for run in arm.of(evaluation.phase)}) for arm in report.all_arms]
    seeds = sorted({seed for _, runs in by_arm for seed in runs})
    rows = [
        [link(arm.arm, arm.trial_dir), *(_run(report, runs.get(seed)) for seed in seeds)]
        for arm, runs in by_arm
        if runs
    ]
    return table(["arm", *(f"seed {seed}" for seed in seeds)], rows) if rows else ""


def _run(report: StudyReport, run: TrialRecord | None) -> str:
    return "" if run is None else _to_trial(words.run_text(report, run), run)


def _to_trial(text: str, run: TrialRecord) -> str:
    return link(text, run.trial_dir) if run.begun else plain(text)


def _left_out(report: StudyReport) -> list[str]:
    rows = [
        [_to_trial(arm.arm, run), str(run.seed), *map(plain, words.left_out_row(run))]
        for arm, run in report.left_out
    ]
    if not rows:
        return []
    head = ["arm", "seed", "outcome", f"at ({report.unit})", "attempts", "reason"]
    why = "These runs ended and are never averaged with finished ones."
    return ["## In no effect", why, table(head, rows)]


def _ledger(report: StudyReport) -> str:
    rows = [
        [*map(plain, words.ledger_row(entry)), numbers.duration(entry.wall_s), f"{entry.gpu_s / 3600:.3g}"]
        for entry in report.ledger.entries
    ]
    head = ["arm", "phase", "state", "runs", f"trained ({report.unit})", "time", "GPU-hours"]
    return table(head, rows)


def comparison_markdown(found: Comparison) -> str:
    """Two studies side by side."""
    head = words.comparison_head(found)
    rows = [list(map(plain, row)) for row in words.comparison_rows(found)]
    title = f"# {plain(head[1])} and {plain(head[2])}"
    return _document([title, table(list(map(plain, head)), rows), _listed(words.comparison_lines(found))])


def table(head: Sequence[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table; the cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def link(text: str, folder: str, *, raw: bool = False) -> str:
    """Return a link to a directory, the text where there is none; `raw`: it is Markdown already."""
    if not folder:
        return text if raw else plain(text)
    return f"[{text if raw else plain(text)}]({quote(folder)}/)"


def plain(text: str, most: int = 1000) -> str:
    """Text that Markdown and HTML leave alone."""
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", numbers.one_line(text, most))


def _code(text: str) -> str:
    clean = numbers.one_line(text, 1000).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", clean)), default=0))
    return f"{fence} {clean} {fence}" if "`" in clean else f"{fence}{clean}{fence}"
