"""`table.tex`: the table of effects for a paper; needs the packages booktabs and siunitx (version 3).

`methods.tex`: how the study was done, for the same paper.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from orchestrator.reporting import numbers, words
from orchestrator.reporting.headline import headline
from orchestrator.reporting.methods import with_new_data
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.said import Levels, SaidEffect, said
from orchestrator.stats.newdata import NewData
from orchestrator.stats.results import EQUIVALENT, Effect
from orchestrator.study.methods import Paragraph

_LONG_NAME = 24
_MOST_CHARACTERS = 68
"""That fit the width of a page in its small print, beside the gaps between columns."""
_LONGEST = 10_000
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


def to_latex(report: StudyReport, *, slim: bool = False) -> str:
    """One `table` environment per evaluation; only what is resolved is bold.

    `slim`: as narrow as a column of a two-column page, for a paper: what an arm reached, Δ with its interval
    and the verdict. What else there is stays in the wide one.
    """
    draw = _slim if slim else _table
    tables = [draw(report, evaluation) for evaluation in report.evaluations]
    needs = "% needs \\usepackage{booktabs} and \\usepackage{siunitx} (version 3)"
    said_first = [f"% {numbers.one_line(line, 1000)}" for line in [headline(report)] if line]
    return "\n\n".join(["\n".join([needs, *said_first]), *tables]) + "\n"


def methods_latex(report: StudyReport) -> str:
    """`methods.tex`: the methods of a study as paragraphs; what they cite is in `references.bib` beside "
    "it."""
    head = "% \\input this file, and name references in \\bibliography (or \\addbibresource)"
    paragraphs = (_paragraph(one) for one in with_new_data(report))
    return "\n\n".join([head, *paragraphs]) + "\n"


def _paragraph(one: Paragraph) -> str:
    lines = [rf"\paragraph{{{tex(one.about)}.}}"]
    for sentence in one.sentences:
        keys = ",".join(cited.key for cited in sentence.cites)
        lines.append(tex(sentence.text, _LONGEST) + (rf"~\cite{{{keys}}}." if keys else "."))
    return "\n".join(lines)


def _table(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    main = said(report, evaluation, evaluation.effects)
    joint = said(report, evaluation, evaluation.interactions)
    effects, levels = main + joint, Levels(report, evaluation)
    tested = any(one.effect.p is not None for one in effects)
    heads = [tex(head) for head in levels.heads] if levels.in_rows else []
    head = ["arm", *heads[:1], rf"{{$\Delta${report.scale.in_brackets}}}"]
    head += [tex(f"{numbers.confidence(report)} CI")] if tested else []
    new_data = any(one.new_data for one in effects)
    head += [tex(words.NEW_DATA)] if new_data else []
    head += ["$n$"] + (["Holm $p$"] if tested else []) + ["verdict", *heads[1:]]
    head += ["time"] if report.planned else []
    columns = [_column((one.name for one in effects), "0.27"), *["r"] * len(heads[:1])]
    columns += [f"S[{_format(effects)}]", *["c"] * (tested + new_data)]
    columns += ["c"] + (["r"] if tested else []) + [_column((one.brief_verdict for one in effects), "0.18")]
    columns += ["r"] * (len(heads[1:]) + report.planned)
    shown = levels if heads else None
    rows, inner = ([_row(one, tested, new_data, shown) for one in part] for part in (main, joint))
    if shown is not None:
        value, *beside = map(tex, levels.reference)
        dashes, blanks = ["{--}", *["--"] * (tested + new_data)], [""] * tested
        cells = [tex(report.reference.called), value, *dashes, levels.n, *blanks, "reference", *beside]
        cells += [""] if report.planned else []
        rows = [" & ".join(cells) + r" \\", *rows]
    inner = [line.replace(" & ", " & & ", 1) for line in inner] if heads else inner
    return _environment(report, evaluation, columns, head, rows, inner, _caption(report, evaluation))


def _environment(
    report: StudyReport,
    evaluation: ReportedEvaluation,
    columns: Sequence[str],
    head: Sequence[str],
    rows: Sequence[str],
    inner: Sequence[str],
    caption: str,
    suffix: str = "",
) -> str:
    """Return the whole float; `inner`: rows below a line of their own."""
    size = "footnotesize" if _characters(rows) <= _MOST_CHARACTERS else "scriptsize"
    label = re.sub(r"[^A-Za-z0-9]+", "-", f"{report.study}-{evaluation.phase}")
    lines = [
        r"\begin{table}",
        rf"\centering\{size}\setlength{{\tabcolsep}}{{3pt}}",
        r"\sisetup{mode = text, reset-text-series = false, text-series-to-math = true, retain-explicit-plus}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}{suffix}}}",
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


def _characters(rows: Sequence[str]) -> int:
    """Return about how many characters the columns need together: markup counts nothing."""
    plain = (re.sub(r"\\[A-Za-z]+|[{}$\\]", "", row).split("&") for row in rows)
    columns = itertools.zip_longest(*plain, fillvalue="")
    return sum(min(_LONG_NAME, max(len(cell.strip()) for cell in column)) for column in columns)


def _slim(report: StudyReport, evaluation: ReportedEvaluation) -> str:
    """Arm, what it reached, Δ with its interval; the verdict is in how Δ is set."""
    main = said(report, evaluation, evaluation.effects)
    joint = said(report, evaluation, evaluation.interactions)
    tested = any(one.effect.p is not None for one in main + joint)
    levels = Levels(report, evaluation)
    valued = levels.in_rows
    head = ["arm", *([tex(levels.heads[0])] if valued else [])]
    head += [rf"{{$\Delta${report.scale.in_brackets}}}"]
    head += [tex(f"{numbers.confidence(report)} CI")] if tested else []
    columns = [_column((one.name for one in main + joint), "0.34"), *["r"] * valued]
    columns += [f"S[{_format(main + joint)}]", *["c"] * tested]
    first = [tex(report.reference.called), *[tex(levels.reference[0])] * valued]
    rows = [" & ".join([*first, "{--}", *["--"] * tested]) + r" \\"]
    rows += [_slim_row(one, tested, tex(levels.of(one.effect.arm)[0]), valued) for one in main]
    inner = [_slim_row(one, tested, "", valued) for one in joint]
    caption = _slim_caption(report, evaluation, main + joint)
    return _environment(report, evaluation, columns, head, rows, inner, caption, "-slim")


def _slim_row(one: SaidEffect, tested: bool, reached: str, valued: bool) -> str:
    effect = one.effect
    bold = r"\bfseries " if one.resolved and effect.verdict != EQUIVALENT else ""
    cells = [_breakable(one.name), *[reached.replace(" ", "~")] * valued]
    if effect.delta is None:
        verdict = tex(one.brief_verdict)
        return " & ".join([*cells, *(["{--}", verdict] if tested else [f"{{{verdict}}}"])]) + r" \\"
    cells.append(f"{bold}{_ascii(one.delta)}")
    same = r" $\approx$" if effect.verdict == EQUIVALENT else ""
    marks = _raised(tex(words.marks(effect)))
    cells += [f"{_interval(one.scale, effect)}{same}{marks}"] if tested else []
    return " & ".join(cells) + r" \\"


def _slim_caption(report: StudyReport, evaluation: ReportedEvaluation, effects: Sequence[SaidEffect]) -> str:
    paired = [one.effect.n for one in effects if one.effect.n] or [0]
    fewest = f"{min(paired)} to " if min(paired) < max(paired) else ""
    seeds = f"{fewest}{words.count(max(paired), 'seed')}"
    title = words.phase_title(report, evaluation)
    what = "main effect" if report.averaged else f"difference from {report.reference.arm}"
    tested = [one.effect.method for one in effects if one.effect.p is not None]
    looks = ", sequential intervals" if report.looks else ""
    how = f" ({max(tested, key=len)}, Holm, α = {report.alpha:g}{looks})" if tested else ""
    used = {mark for one in effects for mark in words.marks(one.effect)}
    same = {words.verdict(report, one.effect, report.scale) for one in effects}
    equivalent = [verdict for verdict in same if verdict.startswith(EQUIVALENT)]
    here = [one.name for one in effects if words.here_only(evaluation, one.effect)]
    parts = [
        *(line.capitalize() for line in words.warnings(report)),
        f"Ablation on {report.metric} ({numbers.better(report)} is better){f', {title}' if title else ''}: "
        f"mean ± SD over seeds, and Δ, the {what} over the same {seeds}",
        words.selection(report),
        f"Bold: resolved{how}",
        *(f"≈: {verdict}" for verdict in equivalent),
        f"{words.HERE_ONLY.capitalize()} only: {', '.join(here)}" if here else "",
        "Below the line: interactions, beyond the sum of both" if evaluation.interactions else "",
        *(f"{mark} {meaning}" for mark, meaning in words.MARKS.items() if mark in used),
    ]
    return ". ".join(tex(part) for part in parts if part) + "."


def _row(one: SaidEffect, tested: bool, new_data: bool, levels: Levels | None) -> str:
    effect, bold = one.effect, r"\bfseries " if one.resolved else ""
    columns = [tex(text) for text in levels.of(effect.arm)] if levels and effect.kind == "main" else []
    blank = [""] * (len(levels.heads) - 1) if levels else []
    cells = [
        _breakable(one.name),
        *columns[:1],
        r"{--}" if effect.delta is None else f"{bold}{_ascii(one.delta)}",
    ]
    cells += [_interval(one.scale, effect)] if tested else []
    cells += ([_interval(one.scale, one.new_data)] if one.new_data else ["--"]) if new_data else []
    cells.append(f"{effect.n}/{one.planned}")
    cells += [one.p_holm.replace("–", "--").replace("< ", "$<$~")] if tested else []
    cells += [f"{bold}{_raised(tex(one.brief_verdict))}", *(columns[1:] or blank)]
    cells += [tex(one.time).replace(" ", "~")] if one.report.planned else []
    return " & ".join(cells) + r" \\"


def _raised(text: str) -> str:
    """Footnote marks as superscripts."""
    for mark, name in {"†": r"\dagger", "‡": r"\ddagger", "§": r"\S"}.items():
        text = text.replace(_SPECIAL[mark], f"$^{{{name}}}$")
    return text


def _interval(scale: numbers.Scale, effect: Effect | NewData) -> str:
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
        *(line.capitalize() for line in words.warnings(report)),
        f"Effects on {report.metric} ({numbers.better(report)} is better){f', {title}' if title else ''}; "
        f"{sample.arm}: {mean}, n = {sample.n}",
        headline(report).removesuffix("."),
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
    if " " in name:
        return tex(name)
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


def tex(text: str, most: int = 2000) -> str:
    """Text that LaTeX sets as it is; characters that a plain pdflatex cannot set become their code."""
    clean = numbers.one_line(text, most)
    return "".join(_character(character) for character in clean)


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in "#$%&_{}":
        return f"\\{character}"
    return character if ord(character) < 0x180 else f"U+{ord(character):04X}"
