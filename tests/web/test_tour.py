"""What a browser loads, TensorBoard below the page included: it asks no other machine and misses nothing."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import RUN_MS, serving, watched
from served_site import record_study, write_files
from tensorboard_tabs import CHROMIUM, WAIT_MS, browser

pytestmark = pytest.mark.web

TABS = ("timeseries", "scalars", "images", "histograms", "text")


def wait_for_board(page: Any, address: str) -> None:
    """Ask TensorBoard over HTTP until it has read the runs; only then is it looked at."""
    deadline = monotonic() + WAIT_MS / 1000
    while "baseline/seed-0" not in page.request.get(f"{address}data/runs").text():
        assert monotonic() < deadline, "TensorBoard does not answer"
        page.wait_for_timeout(500)


def write_curves(trial: Path) -> None:
    """Something for most of TensorBoard's tabs."""
    import numpy as np
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(trial)) as writer:
        for step in range(3):
            writer.add_scalar("val/loss", 1.0 / (1 + step), step)
            writer.add_histogram("weights", np.arange(20.0), step)
        writer.add_image("samples", np.zeros((3, 8, 8)), 0)
        writer.add_text("about", "**bold** <script>alert(1)</script>", 0)


def loaded_fonts(page: Any) -> list[str]:
    """The fonts that the page has loaded, and those that it could not."""
    fonts = "async () => { await document.fonts.ready; return [...document.fonts].map(f => f.status) }"
    return list(page.evaluate(fonts))


def test_all_that_a_browser_loads_is_here(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    write_files(tmp_path)
    record_study(tmp_path)
    write_curves(tmp_path / "runs" / "small" / "trials" / "baseline" / "seed-0")
    with serving(tmp_path) as address, browser() as page:
        host = urlsplit(address).netloc
        page.goto(address)
        with watched(page, host) as faults:
            page.get_by_role("link", name="small", exact=True).click()
            page.get_by_role("button", name="Write the report so far").click()
            page.get_by_role("link", name="Report", exact=True).wait_for(timeout=RUN_MS)
            study = page.url
            page.goto(f"{study}files/trials/no-batchnorm/seed-0/log.txt")
            page.goto(f"{study}?cells=-value")
            page.wait_for_load_state("networkidle")
            assert faults == []
        page.get_by_role("button", name="TensorBoard").click()
        page.wait_for_url("**/tensorboard/", wait_until="commit")
        board = f"{study}tensorboard/"
        wait_for_board(page, board)
        with watched(page, host, grades=("error",)) as faults:  # TensorBoard's scripts warn of each other
            for tab in TABS:
                page.goto("about:blank")
                page.goto(f"{board}#{tab}")
                page.get_by_text("baseline/seed-0").first.wait_for(state="attached")
                page.locator("mat-icon svg").first.wait_for(state="attached")
                fonts = loaded_fonts(page)
                assert "loaded" in fonts, tab
                assert "error" not in fonts, tab
            assert faults == []
