"""docs/motion.py: a recorded study as a picture that moves, and the one that the README shows."""

from __future__ import annotations

import importlib.util
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "tests" / "fixtures" / "records"
SVG = "{http://www.w3.org/2000/svg}"
MOST_BYTES = 300_000


@pytest.fixture(scope="module")
def motion() -> ModuleType:
    spec = importlib.util.spec_from_file_location("motion", ROOT / "docs" / "motion.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["motion"] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


def frames(text: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    return [group for group in root.iter(f"{SVG}g") if "frame" in group.get("class", "").split()]


def words(frame: ElementTree.Element) -> str:
    """What is seen of a frame, line by line."""
    rows: dict[float, list[tuple[float, str]]] = defaultdict(list)
    for text in frame.iter(f"{SVG}text"):
        rows[float(text.get("y", "0"))].append((float(text.get("x", "0")), "".join(text.itertext())))
    found = ("".join(part for _, part in sorted(row)) for _, row in sorted(rows.items()))
    return "\n".join(line.replace("\xa0", " ") for line in found)


def check(text: str) -> list[str]:
    """Return the words of all frames of a picture that is sound."""
    assert len(text.encode()) < MOST_BYTES
    assert "<script" not in text
    assert text.count("A recorded run, replayed from its journal") == 2, "in its title, and where one sees it"
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "@media (prefers-reduced-motion: reduce) {.frame {animation: none}}" in text
    assert ".frame {visibility: hidden} .frame:last-of-type {visibility: visible}" in text
    found = frames(text)
    assert len(set(re.findall(r"animation: (k\d+) [\d.]+s step-end infinite", text))) == len(found)
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    for frame in found:
        no_overlap(frame)
    return [words(frame) for frame in found]


def no_overlap(frame: ElementTree.Element) -> None:
    """Texts of a line stand beside each other, and lines below each other."""
    rows: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for text in frame.iter(f"{SVG}text"):
        if "".join(text.itertext()).strip():
            start = float(text.get("x", "0"))
            rows[float(text.get("y", "0"))].append((start, start + float(text.get("textLength", "0"))))
    heights = sorted(rows)
    assert all(below - above > 20 for above, below in pairwise(heights))
    for spans in rows.values():
        ordered = sorted(spans)
        assert all(a[1] <= b[0] + 0.5 for a, b in pairwise(ordered))
        assert not ordered or ordered[-1][1] <= 110 * 12.2 + 0.5


def drawn(motion: ModuleType, name: str, target: Path) -> str:
    motion.main(str(RECORDS / name), str(target))
    return target.read_text(encoding="utf-8")


def test_a_search_is_replayed(motion: ModuleType, tmp_path: Path) -> None:
    """Nothing of the end is seen before it: neither effects nor what a trial was worth."""
    text = drawn(motion, "tune", tmp_path / "tune.svg")
    first, *between, last, table = check(text)
    assert first.startswith("$ orchestrate watch tune   # 0s")
    assert "16 pending, 2 running of 18 cells; run by this machine" in first
    assert "retuned" not in first
    (stopped,) = [frame for frame in between if "# 5s: stopped at a rung: baseline sample 0" in frame]
    assert "baseline sample 0: stopped by asha at rung 1 epoch" in stopped
    assert "all trials have ended" in last or "23 done, 13 stopped of 36 cells" in last
    assert "nobody runs it now" in last
    assert table.startswith("$ orchestrate report tune")
    assert "hurts" in table
    assert text == drawn(motion, "tune", tmp_path / "again.svg"), "the same record, the same picture"


def test_a_loss_and_what_comes_of_it_are_frames(motion: ModuleType, tmp_path: Path) -> None:
    seen = check(drawn(motion, "resumed", tmp_path / "resumed.svg"))
    named = [re.search(r"# [^\n:]*: ([^\n:]*)", frame) for frame in seen]
    told = [found[1] for found in named if found]
    assert told[:2] == ["a worker is lost", "it goes on from its checkpoint"]
    back = next(frame for frame in seen if "goes on from its checkpoint" in frame)
    assert "attempt 2" in back


def test_the_picture_of_the_readme_shows_what_it_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/images/motion.svg" in readme.partition("\n## ")[0]
    assert "docs/motion.py" in readme
    text = (ROOT / "docs" / "images" / "motion.svg").read_text(encoding="utf-8")
    seen = check(text)
    for what in ("stopped at a rung", "a worker is lost", "goes on from its checkpoint"):
        assert any(what in frame for frame in seen), what
    assert seen[-1].startswith("$ orchestrate report")
    assert "Holm" in seen[-1] or "CI" in seen[-1]
