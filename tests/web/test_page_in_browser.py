"""Studies from the form to their comparison, in a real browser, with the real command on real Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from page_tour import Tour, write_digits
from tensorboard_tabs import CHROMIUM, browser

pytestmark = [pytest.mark.web, pytest.mark.ray]

MOST_BYTES = 150_000
"""Of a picture."""


def test_a_study_from_a_click_to_its_report(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    pytest.importorskip("axe_playwright_python", reason="needs axe-core")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    root, pictures = tmp_path / "studies", tmp_path / "pictures"
    pictures.mkdir()
    write_digits(root)
    with browser() as page:
        Tour(page, root, pictures).whole()
    sizes = {file.name: file.stat().st_size for file in pictures.iterdir()}
    assert max(sizes.values()) < MOST_BYTES, sizes
    rows = pq.read_table(root / "runs" / "digits-small" / "results.parquet").to_pylist()
    states = {(row["arm"], row["seed"]): row["state"] for row in rows}
    assert len(states) == 4 * 3
    assert {states["baseline", seed] for seed in range(3)} == {"done"}
    assert {states["rate=tiny", seed] for seed in range(3)} == {"stopped"}
    assert set(states.values()) == {"done", "stopped"}
    effects = json.loads((root / "runs" / "digits-small" / "effects.json").read_text())["effects"]
    assert {effect["arm"] for effect in effects} == {arm for arm, _ in states} - {"baseline"}
