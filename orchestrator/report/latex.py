"""`table.tex`: the table of effects for a paper; needs the packages booktabs and siunitx (version 3)."""

from __future__ import annotations

import re

from orchestrator.report import numbers, words
from orchestrator.report.model import ReportedEvaluation, StudyReport
from orchestrator.stats.results import RESOLVED, Effect

_LONG_NAME = 24
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": r"\ensuremath{-}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "≈": r"\ensuremath{\approx}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\S{}",
    "Δ": r"\ensuremath{\Delta}",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "γ": r"\ensuremath{\gamma}",
    "λ": r"\ensuremath{\lambda}",
    "μ": r"\ensuremath{\mu}",
    "ρ": r"\ensuremath{\rho}",
    "σ": r"\ensuremath{\sigma}",
    "ρ̂": r"\ensuremath{\hat\rho}",
}


def to_latex(report: StudyReport) -> str:
    """One `table` environment per evaluation; only what is resolved is bold."""
    tables = [_table(report, evaluation) for evaluation in report.evaluations]
    needs = "% needs \\usepackage{booktabs} and \\usepackage{siunitx} (version 3)"
    return "\n\n".join([needs, *tables]) + "\n"


def _table(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    scale = numbers.scale_of(report)
    effects = evaluation.all_effects
    tested = any(effect.p is not None for effect in effects)
    head = ["arm", rf"{{$\Delta${scale.in_brackets}}}"]
    head += [tex(f"{numbers.confidence(report)} CI")] if tested else []
    head += ["$n$"] + (["Holm $p$"] if tested else []) + ["verdict", "time"]
    columns = [_name_column(effects), f"S[{_format(effects, scale)}]"]
    columns += ["c"] if tested else []
    columns += ["c"] + (["r"] if tested else []) + [_verdict_column(report, evaluation, scale), "r"]
    rows = [_row(report, evaluation, effect, scale, tested) for effect in evaluation.effects]
    inner = [_row(report, evaluation, effect, scale, tested) for effect in evaluation.interactions]
    body = [*rows, *([r"\midrule", *inner] if inner else [])]
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        r"\sisetup{mode = text, reset-text-series = false, text-series-to-math = true, retain-explicit-plus}",
        rf"\caption{{{_caption(report, evaluation, scale)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', f'{report.study}-{evaluation.phase}')}}}",
        r"\par\vspace{4pt}",
        rf"\begin{{tabular}}{{@{{}}{''.join(columns)}@{{}}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect, scale: numbers.Scale, tested: bool
) -> str:
    bold = r"\bfseries " if effect.verdict in RESOLVED else ""
    runs = report.behind(effect, evaluation.phase)
    said = words.verdict(report, evaluation, effect, scale, brief=True)
    cells = [
        _breakable(effect.arm),
        r"{--}" if effect.delta is None else f"{bold}{_ascii(numbers.delta(effect, scale))}",
    ]
    cells += [_interval(effect, scale)] if tested else []
    cells.append(rf"{effect.n}/{len({run.seed for run in runs})}")
    cells += [_p(effect.p_holm)] if tested else []
    cells.append(f"{bold}{_raised(tex(said))}")
    cells.append(tex(numbers.duration(sum(run.wall_s for run in runs))).replace(" ", "~"))
    return " & ".join(cells) + r" \\"


def _raised(text: str) -> str:
    """Footnote marks as superscripts."""
    for mark, name in {"†": r"\dagger", "‡": r"\ddagger", "§": r"\S"}.items():
        text = text.replace(_SPECIAL[mark], f"$^{{{name}}}$")
    return text


def _interval(effect: Effect, scale: numbers.Scale) -> str:
    if effect.lo is None or effect.hi is None:
        return "--"
    lo, hi = (_ascii(scale.number(end, sign=True)) for end in (effect.lo, effect.hi))
    return (
        rf"[\num{{{lo}}}, \num{{{hi}}}]" if _is_number(lo) and _is_number(hi) else f"[{tex(lo)}, {tex(hi)}]"
    )


def _p(p: float | None) -> str:
    text = numbers.p_value(p)
    return text.replace("–", "--").replace("< ", "$<$~")


def _caption(report: StudyReport, evaluation: ReportedEvaluation, scale: numbers.Scale) -> str:
    sample = evaluation.samples[report.reference.arm]
    spread = "" if sample.sd is None else f" ± {scale.value(sample.sd)} (SD over seeds)"
    mean = "no finished run" if sample.mean is None else f"{scale.value(sample.mean)}{spread}"
    title = words.phase_title(report, evaluation)
    parts = [
        *(line.capitalize() for line in words.headline(report)),
        f"Effects on {report.metric} ({numbers.better(report)} is better){f', {title}' if title else ''}; "
        f"{sample.arm}: {mean}, n = {sample.n}",
        words.caption(report, evaluation),
        *_below(report, evaluation),
        words.settings_line(report).capitalize(),
        "Bold: resolved",
    ]
    return ". ".join(tex(part.removesuffix(".")) for part in parts) + "."


def _below(report: StudyReport, evaluation: ReportedEvaluation) -> list[str]:
    """Return what the design adds to the meaning of the rows."""
    said = []
    if evaluation.interactions:
        interval = words.interval_name(report, "interaction")
        said.append(f"Below the line: interactions, Δ beyond the sum of both, {interval} from all seeds")
    aliases = [group for group in report.aliases if " × " not in group[0]]
    if aliases:
        said.append(f"Not told apart by the design: {'; '.join(' = '.join(group) for group in aliases)}")
    return said


def _name_column(effects: tuple[Effect, ...]) -> str:
    longest = max((len(effect.arm) for effect in effects), default=0)
    return r">{\raggedright\arraybackslash}p{0.27\linewidth}" if longest > _LONG_NAME else "l"


def _verdict_column(report: StudyReport, evaluation: ReportedEvaluation, scale: numbers.Scale) -> str:
    said = [words.verdict(report, evaluation, effect, scale, brief=True) for effect in evaluation.all_effects]
    long = max(map(len, said), default=0) > _LONG_NAME
    return r">{\raggedright\arraybackslash}p{0.18\linewidth}" if long else "l"


def _breakable(name: str) -> str:
    """Return a name that may be broken behind its separators, and anywhere when there are none for long."""
    pieces = re.findall(r"[^-_=+./]{1,12}[-_=+./]*|[-_=+./]+", name)
    return r"\allowbreak{}".join(tex(piece) for piece in pieces) if len(name) > _LONG_NAME else tex(name)


def _format(effects: tuple[Effect, ...], scale: numbers.Scale) -> str:
    """siunitx's table-format for the Δ: digits before and behind the point, exponent."""
    texts = [_ascii(numbers.delta(effect, scale)) for effect in effects if effect.delta is not None]
    texts = [text for text in texts if _is_number(text)]
    whole = max((len(text.lstrip("+-").partition("e")[0].partition(".")[0]) for text in texts), default=1)
    behind = max((len(text.partition("e")[0].partition(".")[2]) for text in texts), default=0)
    power = max((len(text.partition("e")[2].lstrip("-")) for text in texts), default=0)
    exponent = f"e{'-' if any('e-' in text for text in texts) else ''}{power}" if power else ""
    return f"table-format = +{whole}.{behind}{exponent}"


def _ascii(text: str) -> str:
    return text.replace("−", "-").replace("–", "--")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?(e-?\d+)?", text) is not None


def tex(text: str) -> str:
    """Text that LaTeX sets as it is; characters that a plain pdflatex cannot set become their code."""
    clean = numbers.one_line(text, 2000)
    return "".join(_character(character) for character in clean)


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in "#$%&_{}":
        return f"\\{character}"
    return character if ord(character) < 0x180 else f"U+{ord(character):04X}"
