"""table.tex: what it says, and that LaTeX takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from orchestrator.reporting import numbers
from orchestrator.reporting.latex import tex, to_latex
from orchestrator.stats.results import EQUIVALENT, UNRESOLVED

BASE = {0: 0.90, 1: 0.92, 2: 0.91}
ARMS = {"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83, 2: 0.82}, "no-aug": {0: 0.9, 1: 0.93, 2: 0.90}}
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage{siunitx}
\begin{document}
\input{table.tex}
\end{document}
"""


def with_effects(report, *changes):
    changed = tuple(replace(e, **c) for e, c in zip(report.first.effects, changes, strict=True))
    return replace(report, evaluations=(replace(report.first, effects=changed),))


def test_a_row(study) -> None:
    report = study(ARMS).report
    table, effect = to_latex(report), report.first.effects[0]
    row = next(line for line in table.splitlines() if line.startswith("no-bn"))
    ends = ", ".join(rf"\num{{{100 * end:+.1f}}}" for end in (effect.lo, effect.hi))
    p = numbers.p_value(effect.p_holm).replace("< ", "$<$~")
    reached = r"no-bn & 81.7 \ensuremath{\pm} 1.5"
    assert row == rf"{reached} & \bfseries -9.3 & [{ends}] & 3/3 & {p} & \bfseries hurts & 90~s \\"
    other = next(line for line in table.splitlines() if line.startswith("no-aug"))
    assert r"\bfseries" not in other
    assert r"S[table-format = +1.1]" in table


def test_the_caption_names_what_was_registered(study) -> None:
    report = study(ARMS, report={"margin": 0.02, "alpha": 0.1}).report
    table = to_latex(replace(report, looks=(3, 4, 5)))
    for part in (
        r"0.9100 \ensuremath{\pm} 0.0100 (SD over seeds)",
        "3 seeds",
        r"\ensuremath{\alpha} = 0.1",
        r"margin \ensuremath{\pm}0.02",
        "looks at 3, 4, 5 seeds",
        r"Difference and equivalence each spend their own \ensuremath{\alpha}",
    ):
        assert part in table


def test_marks_are_explained_where_they_are_used(study) -> None:
    report = study(ARMS).report
    table = to_latex(report)
    assert r"\textdagger" not in table
    early = {"verdict": EQUIVALENT, "early": True}
    table = to_latex(with_effects(report, early, {"verdict": UNRESOLVED, "flags": ("moderated only",)}))
    assert r"\bfseries practically equivalent$^{\dagger}$" in table
    assert r"unresolved$^{\ddagger}$" in table
    assert r"\textdagger{} stopped early" in table


def test_text_is_no_markup() -> None:
    assert tex("50% of $x_1$ & #{~^}\\") == (
        r"50\% of \$x\_1\$ \& \#\{\textasciitilde{}\textasciicircum{}\}\textbackslash{}"
    )
    assert tex("é 你") == "é U+4F60"


def columns(table: str) -> list[list[str]]:
    """What is seen of each row: markup counts nothing."""
    rows = table.partition(r"\midrule")[2].partition(r"\bottomrule")[0].splitlines()
    plain = [
        re.sub(r"\\(ensuremath|num|bfseries|allowbreak|midrule|pm|approx)|[{}$]|\\\\", "", row)
        for row in rows
    ]
    return [[cell.strip() for cell in row.split("&")] for row in plain if row.strip()]


def test_the_slim_table_fits_a_column_of_two(study) -> None:
    names = ("batch_norm", "label_smoothing", "stochastic_depth", "augmentation")
    rows = {f"no-{name}": {s: 0.8 + s / 100 + i / 300 for s in range(3)} for i, name in enumerate(names)}
    labels = {name: {"without": {name: False}, "label": name.replace("_", " ")} for name in names}
    report = study({"baseline": BASE, **rows}, components=labels, report={"margin": 0.3}).report
    table = to_latex(report, slim=True)
    found = columns(table)
    assert [row[0] for row in found][:2] == ["baseline", "without batch norm"]
    assert found[0][1:] == ["91.0  1.0", "--", "--"]
    width = sum(max(len(cell) for cell in column) for column in zip(*found, strict=True))
    assert width <= 60  # characters of \footnotesize in 88 mm, with three gaps
    assert "time" not in table
    assert r"val/accuracy (\%) & {$\Delta$ (pp)}" in table
    assert r"same 3 seeds. Bold: resolved (moderated paired t, Holm" in table


@pytest.mark.slow
@pytest.mark.parametrize("slim", [False, True], ids=["wide", "slim"])
@pytest.mark.parametrize("name", ["plain", "long", "tiny", "failed", "many", "text"])
def test_latex_compiles(study, ended, tmp_path, name: str, slim: bool) -> None:
    pdflatex = shutil.which("pdflatex")
    if pdflatex is None:
        pytest.skip("no pdflatex here")
    failed = ended(None, "failed", "user", "boom", 1)
    tiny = {"baseline": {0: 1e-12, 1: 2e-12}, "no-bn": {0: 5e-12, 1: 8e-12}}
    outcomes, changes = {
        "plain": (ARMS, {"report": {"margin": 0.02}}),
        "long": ({"baseline": BASE, "no-" + "verylongcomponentname" * 4: ARMS["no-bn"]}, {}),
        "tiny": (tiny, {"metric": {"name": "mse", "mode": "min"}}),
        "failed": ({arm: dict.fromkeys(range(3), failed) for arm in ARMS}, {}),
        "many": ({"baseline": BASE} | {f"no-c_{i}": ARMS["no-bn"] for i in range(30)}, {}),
        "text": (ARMS, {"metric": {"name": "50% of $x_1$ & #{~^}\\ é 你 µ", "mode": "max"}}),
    }[name]
    report = study(outcomes, **changes).report
    marked = [{"early": True, "flags": ("moderated only",)}] * len(report.first.effects)
    (tmp_path / "table.tex").write_text(to_latex(with_effects(report, *marked), slim=slim), encoding="utf-8")
    layout = r"\documentclass[twocolumn]{article}" if slim else r"\documentclass{article}"
    (tmp_path / "paper.tex").write_text(DOCUMENT.replace(r"\documentclass{article}", layout))
    done = subprocess.run(
        [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    log = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, log[-3000:]
    assert "Overfull" not in log
