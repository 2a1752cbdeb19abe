"""Curves and effects in characters: where they begin and end, and what is left of them elsewhere."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from orchestrator.reporting.model import Curve, StudyReport
from orchestrator.reporting.sketch import BLOCKS, forest, interval, sparklines
from orchestrator.reporting.streams import fitting


def curve(arm: str, points: dict[float, float]) -> Curve:
    ends = (None,) * len(points)
    return Curve(arm, tuple(points), tuple(points.values()), ends, ends, (1,) * len(points))


def test_curves_share_a_scale_and_end_where_their_runs_are() -> None:
    falls = curve("a", {float(length): 8.0 - length for length in range(1, 9)})
    begins = curve("b", {1.0: 0.0, 2.0: 7.0})
    drawn = sparklines([falls, begins], full=8.0, width=8)
    assert drawn == {"a": BLOCKS[::-1], "b": "▁█"}
    assert sparklines([curve("a", {8.0: 1.0})], 8.0, 4) == {"a": "   ▅"}
    assert sparklines([curve("a", {2.0: 0.0, 8.0: 1.0})], 8.0, 4) == {"a": "▁▁▁█"}
    assert sparklines([], 8.0) == {}
    many = sparklines([curve("a", {float(step): float(step) for step in range(1, 1001)})], 1000.0, 8)
    assert many == {"a": BLOCKS}


@pytest.mark.parametrize(
    ("delta", "lo", "hi", "line"),
    [
        (-2.0, -3.0, -1.0, " ─●─│    "),
        (0.0, -1.0, 1.0, "   ─●─   "),
        (3.0, None, None, "    │  ● "),
        (None, None, None, "    │    "),
        (9.0, 3.0, 9.0, "    │  ─●"),
    ],
)
def test_an_effect_on_its_line(delta: float | None, lo: float | None, hi: float | None, line: str) -> None:
    assert interval(delta, lo, hi, (-4.0, 4.0), 9) == line


def test_every_encoding_has_signs_for_them() -> None:
    assert fitting(f"{BLOCKS} ─●│", "ascii") == "_.,-~=+# -*|"


BASE = {0: 0.90, 1: 0.92, 2: 0.91}
OTHERS = {"no-bn": {0: 0.80, 1: 0.83, 2: 0.82}, "no-aug": {0: 0.91, 1: 0.94, 2: 0.92}}


def lines(report: StudyReport, width: int, rows: int = 10) -> list[str]:
    screen = Console(file=StringIO(), width=width, color_system=None)
    screen.print(*forest(report, width, rows), sep="\n")
    return screen.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_the_effects_so_far(study) -> None:
    title, first, second = lines(study({"baseline": BASE, **OTHERS}).report, 120)
    assert title.startswith("Δ val/accuracy (pp) from baseline")
    assert first.index("●") < first.index("│")
    assert first.split()[0] == "no-bn"
    assert "3/3" in first
    assert second.split()[0] == "no-aug"
    assert first.index("│") == second.index("│")
    (so_far, *_) = lines(study({"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83}}).report, 120)
    assert so_far.endswith("so far")


def test_a_forest_where_there_is_little_room(study) -> None:
    found = study({"baseline": BASE, **OTHERS}).report
    narrow = lines(found, 20)
    assert max(map(len, narrow)) <= 20
    assert "●" not in "".join(narrow)
    assert "no-bn" in "".join(narrow)
    assert lines(found, 120, rows=1)[-1] == "and 1 more"
    assert forest(found, 120, rows=0) == forest(study({"no-bn": {}}).report, 120, 10) == []
