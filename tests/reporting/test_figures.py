"""Figures as files: they exist, are the same each time, and show the numbers of the report."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reporting import figures
from orchestrator.reporting.figures import draw_figures, effects
from orchestrator.stats.results import EQUIVALENT, INTERACTS, UNRESOLVED

pytestmark = pytest.mark.slow  # matplotlib takes long to import, and to draw

BASE = {0: 0.90, 1: 0.92, 2: 0.91}
ARMS = {"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83, 2: 0.82}, "no-aug": {0: 0.9, 1: 0.93, 2: 0.90}}
CURVES = {
    "baseline": {seed: [0.5, 0.7, 0.8, 0.9 + seed / 100] for seed in range(3)},
    "no-bn": {seed: [0.6, 0.7, 0.75, 0.8] for seed in range(3)},
}
ASHA = {"rule": "asha", "max": 9, "grace": 1}
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: bytes) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def with_interactions(report):
    found = [
        replace(
            report.first.effects[0],
            arm=f"no-{a}+no-{b}",
            kind="interaction",
            components=(a, b),
            delta=delta,
            lo=delta - 0.01,
            hi=delta + 0.01,
            verdict=verdict,
        )
        for a, b, delta, verdict in (("bn", "aug", 0.02, INTERACTS), ("bn", "c", -0.01, UNRESOLVED))
    ]
    return replace(report, evaluations=(replace(report.first, interactions=tuple(found)),))


def test_the_figures_show_the_numbers_of_the_report(study) -> None:
    report = with_interactions(study(ARMS, curves=CURVES, report={"margin": 0.02}).report)
    files = draw_figures(report, ("svg",))
    names = ("forest", "seeds", "interactions", "deltas", "curves", "variance", "assumptions", "ledger")
    assert set(files) == {f"{name}.svg" for name in names}
    scale = report.scale
    forest = texts(files["forest.svg"])
    for effect in report.first.all_effects:
        assert effect.arm.replace("+", " × ") in forest
        assert f"{scale.delta(effect.delta)} {scale.interval(effect.lo, effect.hi)}" in forest
        assert scale.number(effect.hi - effect.lo) in forest
    assert any("shaded: ±2" in text for text in forest)
    assert scale.delta(report.first.interactions[0].delta) in texts(files["interactions.svg"])
    assert any("crosses" in text for text in texts(files["deltas.svg"]))
    assert any("no-bn" in text for text in texts(files["curves.svg"]))
    assert any(text.startswith("variance: pairing by seed saved") for text in texts(files["variance.svg"]))
    assert any(text.startswith("cost: ") for text in texts(files["ledger.svg"]))
    assert any(text.startswith("assumptions: equal noise") for text in texts(files["assumptions.svg"]))


def test_the_marks_of_the_forest_lie_where_the_effects_are(study) -> None:
    """What is drawn is proportional to the interval: three ends fix the scale, also of Δ and margin."""
    report = study(ARMS, report={"margin": 0.02}).report
    svg = draw_figures(report, ("svg",))["forest.svg"].decode()
    wide = re.compile(r'<path d="M ([\d.]+) ([\d.]+) \nL ([\d.]+) \2 \n"[^>]*style="[^"]*stroke-width: 2.2')
    drawn = [(float(a), float(b)) for a, _, b in wide.findall(svg)]
    ends = [(effect.lo, effect.hi) for effect in report.first.effects]
    assert len(drawn) == len(ends)
    per_unit = (drawn[0][1] - drawn[0][0]) / (ends[0][1] - ends[0][0])
    for (left, right), (lo, hi) in zip(drawn, ends, strict=True):
        assert left - drawn[0][0] == pytest.approx((lo - ends[0][0]) * per_unit, abs=0.01)
        assert right - drawn[0][0] == pytest.approx((hi - ends[0][0]) * per_unit, abs=0.01)
    dots = re.findall(r'<g id="mark-\d+">.*?<use [^>]*x="([\d.]+)"', svg, re.DOTALL)
    (band,) = re.findall(
        r'd="M ([\d.]+) .*\n.*\nL ([\d.]+) .*\n.*\nz\n"[^>]*fill: #0a8f6c; opacity: 0.12', svg
    )
    shown = [*(effect.delta for effect in report.first.effects), -0.02, 0.02]
    for x, value in zip([*dots, *band], shown, strict=True):
        assert float(x) - drawn[0][0] == pytest.approx((value - ends[0][0]) * per_unit, abs=0.01)


@pytest.mark.long
def test_the_same_report_gives_the_same_bytes(study) -> None:
    report = study(ARMS, curves=CURVES).report
    files = draw_figures(report)
    assert files == draw_figures(report)
    assert files["forest.pdf"].startswith(b"%PDF")
    assert files["forest.png"].startswith(b"\x89PNG")
    assert min(map(len, files.values())) > 3000


def test_settings_of_the_user_are_left_alone(study) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 3, "axes.facecolor": "red"}):
        files = draw_figures(study(ARMS).report, ("svg",), ("forest", "ledger"))
        assert mpl.rcParams["font.size"] == 3
    assert files == draw_figures(study(ARMS).report, ("svg",), ("forest", "ledger"))


def hostile(ended):
    failed = ended(None, "failed", "user", "ValueError: $x_{|}$ <b>", 1)
    stopped = ended(0.5, "stopped", None, "rank 3 of 3", 1)
    thirty = {f"no-c{i}": {s: 0.9 + s / 99 - i / 300 for s in range(3)} for i in range(30)}
    negative = {"baseline": {0: -5.0, 1: -6.0, 2: -7.0}, "no-bn": {0: -9, 1: -8.5, 2: -9.9}}
    tiny = {"baseline": {0: 1e-12, 1: 2e-12}, "no-bn": {0: 5e-12, 1: 8e-12}}
    huge = {"baseline": {0: 1e300, 1: 2e300, 2: 1e301}, "no-bn": {0: -1e300, 1: 1e-300, 2: 0.0}}
    long = "no-" + "very-long-component-name" * 4
    return {
        "thirty arms": ({"baseline": BASE} | thirty, {}),
        "long names": ({"baseline": BASE, long: {0: 0.8, 1: 0.85, 2: 0.8}}, {}),
        "one seed": ({"baseline": {0: 0.9}, "no-bn": {0: 0.8}}, {"seeds": 1}),
        "all failed": ({arm: dict.fromkeys(range(3), failed) for arm in ("baseline", "no-bn")}, {}),
        "negative and min": (negative, {"metric": {"name": "$x_{<nll", "mode": "min"}}),
        "tiny": (tiny, {"metric": {"name": "mse", "mode": "min"}}),
        "nan": ({"baseline": {**BASE, 0: ended(math.nan)}, "no-bn": {**BASE, 1: ended(math.inf)}}, {}),
        "huge": (huge, {}),
        "no variance": ({"baseline": BASE, "no-bn": BASE}, {}),
        "rung-only": ({"baseline": BASE, "no-bn": dict.fromkeys(range(3), stopped)}, {"stopping": ASHA}),
        "nothing yet": ({"no-bn": {}}, {}),
    }


HOSTILE = ["all failed", "negative and min"]
MORE = [
    "one seed",
    "thirty arms",
    "long names",
    "tiny",
    "nan",
    "huge",
    "no variance",
    "rung-only",
    "nothing yet",
]


@pytest.mark.parametrize("name", [*HOSTILE, *(pytest.param(name, marks=pytest.mark.long) for name in MORE)])
def test_no_study_breaks_a_figure(study, ended, name: str) -> None:
    outcomes, changes = hostile(ended)[name]
    curves = {arm: {0: [0.1, float("nan"), 0.3]} for arm in outcomes}
    report = study(outcomes, curves=curves, **changes).report
    files = draw_figures(report, ("svg",))
    assert {"forest.svg", "ledger.svg"} <= set(files)
    assert all(ElementTree.fromstring(content) is not None for content in files.values())
    equivalent = tuple(replace(effect, verdict=EQUIVALENT, early=True) for effect in report.first.effects)
    again = replace(report, evaluations=(replace(report.first, effects=equivalent),))
    assert draw_figures(again, ("svg",), ("forest", "seeds"))  # the others show no verdict


@given(st.text(alphabet="ab=+-_", max_size=40))
def test_a_folded_name_is_the_name(name: str) -> None:
    lines = effects._folded(name).split("\n")
    assert "".join(lines) == name
    assert all(len(line) <= 13 for line in lines)


def test_names_are_folded_where_their_parts_meet() -> None:
    assert effects._folded("optimizer=adam") == "optimizer=\nadam"
    assert effects._folded("no-batchnorm") == "no-batchnorm"


def test_a_figure_shows_as_many_arms_as_can_be_read(study, monkeypatch) -> None:
    monkeypatch.setattr(figures, "MOST_ARMS", 2)
    deltas = {"no-a": 0.01, "no-b": 0.2, "no-c": 0.0, "no-d": 0.1}
    arms = {arm: {0: 0.9 - by, 1: 0.9 - by * 1.1, 2: 0.9} for arm, by in deltas.items()}
    made = study({"baseline": {0: 0.9, 1: 0.91, 2: 0.9}, **arms})
    names = ("forest", "seeds", "variance", "ledger")
    for name, content in draw_figures(made.report, ("svg",), names).items():
        text = " ".join(re.sub(r"<[^>]+>", " ", content.decode()).split())
        assert "no-b" in text, name
        assert "no-d" in text, name
        assert "no-c" not in text, name
        assert "the 2 arms of 4 whose" in text, name
