"""`table.tex`: the table of effects for a paper; needs the packages booktabs and siunitx (version 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from orchestrator.reporting import numbers, words
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.said import SaidEffect, said
from orchestrator.stats.results import Effect

_LONG_NAME = 24
_GREEK = ("Delta", "alpha", "beta", "gamma", "lambda", "mu", "rho", "sigma")
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
    **{letter: rf"\ensuremath{{\{name}}}" for letter, name in zip("Δαβγλμρσ", _GREEK, strict=True)},
}


def to_latex(report: StudyReport) -> str:
    """One `table` environment per evaluation; only what is resolved is bold."""
    tables = [_table(report, evaluation) for evaluation in report.evaluations]
    needs = "% needs \\usepackage{booktabs} and \\usepackage{siunitx} (version 3)"
    return "\n\n".join([needs, *tables]) + "\n"


def _table(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    main = said(report, evaluation, evaluation.effects)
    joint = said(report, evaluation, evaluation.interactions)
    effects = main + joint
    tested = any(one.effect.p is not None for one in effects)
    head = ["arm", rf"{{$\Delta${report.scale.in_brackets}}}"]
    head += [tex(f"{numbers.confidence(report)} CI")] if tested else []
    head += ["$n$"] + (["Holm $p$"] if tested else []) + ["verdict", "time"]
    columns = [_column((one.effect.arm for one in effects), "0.27"), f"S[{_format(effects)}]"]
    columns += ["c"] if tested else []
    columns += (
        ["c"] + (["r"] if tested else []) + [_column((one.brief_verdict for one in effects), "0.18"), "r"]
    )
    rows, inner = ([_row(one, tested) for one in part] for part in (main, joint))
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        r"\sisetup{mode = text, reset-text-series = false, text-series-to-math = true, retain-explicit-plus}",
        rf"\caption{{{_caption(report, evaluation)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', f'{report.study}-{evaluation.phase}')}}}",
        r"\par\vspace{4pt}",
        rf"\begin{{tabular}}{{@{{}}{''.join(columns)}@{{}}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *rows,
        *([r"\midrule", *inner] if inner else []),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(one: SaidEffect, tested: bool) -> str:
    effect, bold = one.effect, r"\bfseries " if one.resolved else ""
    cells = [_breakable(effect.arm), r"{--}" if effect.delta is None else f"{bold}{_ascii(one.delta)}"]
    cells += [_interval(one.scale, effect)] if tested else []
    cells.append(f"{effect.n}/{one.planned}")
    cells += [one.p_holm.replace("–", "--").replace("< ", "$<$~")] if tested else []
    cells += [f"{bold}{_raised(tex(one.brief_verdict))}", tex(one.time).replace(" ", "~")]
    return " & ".join(cells) + r" \\"


def _raised(text: str) -> str:
    """Footnote marks as superscripts."""
    for mark, name in {"†": r"\dagger", "‡": r"\ddagger", "§": r"\S"}.items():
        text = text.replace(_SPECIAL[mark], f"$^{{{name}}}$")
    return text


def _interval(scale: numbers.Scale, effect: Effect) -> str:
    if effect.lo is None or effect.hi is None:
        return "--"
    ends = [_ascii(scale.delta(end)) for end in (effect.lo, effect.hi)]
    written = [rf"\num{{{end}}}" if all(map(_is_number, ends)) else tex(end) for end in ends]
    return f"[{', '.join(written)}]"


def _caption(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    scale, sample = report.scale, evaluation.samples[report.reference.arm]
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
    lines = []
    if evaluation.interactions:
        interval = words.interval_name(report, "interaction")
        lines.append(f"Below the line: interactions, Δ beyond the sum of both, {interval} from all seeds")
    aliases = [group for group in report.aliases if " × " not in group[0]]
    if aliases:
        lines.append(f"Not told apart by the design: {'; '.join(' = '.join(group) for group in aliases)}")
    return lines


def _column(texts: Iterable[str], share: str) -> str:
    """Return a column of texts; long ones are broken at this share of the line."""
    long = max(map(len, texts), default=0) > _LONG_NAME
    return rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}" if long else "l"


def _breakable(name: str) -> str:
    """Return a name that may be broken behind its separators, and anywhere when there are none for long."""
    pieces = re.findall(r"[^-_=+./]{1,12}[-_=+./]*|[-_=+./]+", name)
    return r"\allowbreak{}".join(tex(piece) for piece in pieces) if len(name) > _LONG_NAME else tex(name)


def _format(effects: Sequence[SaidEffect]) -> str:
    """siunitx's table-format for the Δ: digits before and behind the point, exponent."""
    texts = [text for one in effects if _is_number(text := _ascii(one.delta))]
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
