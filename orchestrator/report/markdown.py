"""`report.md`: the report as Markdown, with a link from every arm to its trials."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

from orchestrator.report import words
from orchestrator.report.model import ArmReport, Run, StudyReport
from orchestrator.stats.effects import HELPS, HURTS


def to_markdown(report: StudyReport) -> str:
    """The whole report; links are relative to the study's directory, where `report.md` lies."""
    scale = words.scale_of(report)
    better = "higher" if report.mode == "max" else "lower"
    blocks = [
        f"# {_plain(report.study)}",
        *(f"> **{line}**" for line in words.headline(report)),
        f"Metric: {_plain(report.metric)} ({better} is better). "
        f"Reference {_link(report.reference.arm, report.reference.trial_dir)}: "
        f"{_plain(words.reference_line(report, scale).split(': ', 1)[1])}. "
        f"Full length: {words.quantity(report.max_length, report.unit)}.",
        "## Effects",
        _effects(report, scale),
        f"_{_plain(words.caption(report))}._",
        "\n".join(f"- {_finding(report, arm, scale)}" for arm in report.arms),
        "## Runs",
        _runs(report, scale),
        *_left_out(report),
        "## Cost",
        "\n".join(
            f"- {_plain(line)}" for line in (words.cost_line(report), words.pairing_line(report)) if line
        ),
        *(["## Notes", "\n".join(f"- {_plain(note)}" for note in report.notes)] if report.notes else []),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _effects(report: StudyReport, scale: words.Scale) -> str:
    unit = f" ({scale.unit})" if scale.unit else ""
    tested = any(effect.p is not None for effect in report.effects)
    interval = [f"{words.confidence(report)} CI"] if tested else []
    tests = ["p", "Holm p"] if tested else []
    head = ["arm", f"Δ{unit}", *interval, "n", *tests, "verdict", "time", "GPU-hours"]
    return _table(head, [_effect(arm, scale, tested) for arm in report.arms])


def _effect(arm: ArmReport, scale: words.Scale, tested: bool) -> list[str]:
    effect = arm.effect
    if effect is None:
        return [_link(arm.arm, arm.trial_dir)]
    mark = "**" if effect.verdict in (HURTS, HELPS) else ""
    delta = "–" if effect.delta is None else scale.number(effect.delta, sign=True)
    interval = [_plain(words.interval(effect, scale))] if tested else []
    tests = [_plain(words.p_value(effect.p)), _plain(words.p_value(effect.p_holm))] if tested else []
    return [
        _link(arm.arm, arm.trial_dir),
        f"{mark}{delta}{mark}",
        *interval,
        f"{effect.n} of {len(arm.runs)}",
        *tests,
        f"{mark}{_plain(words.verdict(arm))}{mark}",
        words.duration(arm.wall_s),
        f"{arm.gpu_s / 3600:.3g}",
    ]


def _finding(report: StudyReport, arm: ArmReport, scale: words.Scale) -> str:
    """The arm's sentence, what it changed and which question it was to answer."""
    text = words.sentence(report, arm, scale, emphasise=lambda name: f"*{_plain(name)}*", escape=_plain)
    changes = ", ".join(f"{key} = {json.dumps(value, default=str)}" for key, value in arm.change.items())
    text += f" Changed: {_code(changes)}." if changes else ""
    return text + (f" Question: {_plain(arm.why)}" if arm.why else "")


def _runs(report: StudyReport, scale: words.Scale) -> str:
    arms = (report.reference, *report.arms)
    seeds = sorted({run.seed for arm in arms for run in arm.runs})
    rows = []
    for arm in arms:
        by_seed = {run.seed: run for run in arm.runs}
        cells = [_run(by_seed[seed], scale) if seed in by_seed else "" for seed in seeds]
        rows.append([_link(arm.arm, arm.trial_dir), *cells])
    return _table(["arm", *(f"seed {seed}" for seed in seeds)], rows)


def _run(run: Run, scale: words.Scale) -> str:
    text = scale.value(run.value) if run.used and run.value is not None else words.outcome(run)
    return _link(text, run.trial_dir)


def _left_out(report: StudyReport) -> list[str]:
    rows = [
        [
            _link(arm.arm, run.trial_dir),
            str(run.seed),
            _plain(words.outcome(run)),
            "–" if run.length is None else f"{run.length:g}",
            str(run.attempts),
            _plain(words.one_line(run.reason)),
        ]
        for arm, run in report.left_out
    ]
    if not rows:
        return []
    head = ["arm", "seed", "outcome", f"at ({report.unit})", "attempts", "reason"]
    return [
        "## In no effect",
        "These runs ended and are never averaged with finished ones.",
        _table(head, rows),
    ]


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _link(text: str, folder: str) -> str:
    return f"[{_plain(text)}]({quote(folder)}/)"


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave alone."""
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", words.one_line(text, 1000))


def _code(text: str) -> str:
    clean = words.one_line(text, 1000).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", clean)), default=0))
    return f"{fence} {clean} {fence}" if "`" in clean else f"{fence}{clean}{fence}"
