"""The figures of the book: read on a light page and on a dark one."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.reporting import palette

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = sorted(
    path for path in (DOCS / "images").glob("*.svg") if "Matplotlib" in path.read_text(encoding="utf-8")
)
ADDED = re.compile(r"<style>\n@media .*?</style>\n", re.DOTALL)
LEAST, LEAST_TEXT = 3.0, 4.5
"""Contrast of a mark, and of text, to its ground: WCAG 2, level AA."""


@pytest.fixture(scope="module")
def shades() -> ModuleType:
    spec = importlib.util.spec_from_file_location("shades", DOCS / "shades.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("picture", FIGURES, ids=lambda path: path.stem)
def test_a_figure_has_its_colours_for_the_dark(shades: ModuleType, picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    drawn = ADDED.sub("", text)
    assert drawn != text
    assert shades.in_both(drawn) == text


def test_every_figure_is_looked_at() -> None:
    assert {path.stem for path in (DOCS / "images").glob("*.svg")} - {path.stem for path in FIGURES} == {
        "motion",
        "report",
    }, "terminals, dark on any page"


def test_ink_and_marks_are_read_on_both_grounds(shades: ModuleType) -> None:
    dark = shades.dark()
    for ground, shade in ((palette.CARD, str), (dark[palette.CARD], dark.__getitem__)):
        for ink in (palette.INK, palette.QUIET):
            assert contrast(shade(ink), ground) >= LEAST_TEXT
        for mark in {*palette.VERDICTS.values(), palette.NEUTRAL}:
            assert contrast(mark, ground) >= LEAST, (mark, ground)
