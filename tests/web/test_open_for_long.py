"""A page that stays open while a study runs: after hundreds of looks a browser holds what it held before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import serving
from served_site import write_files
from tensorboard_tabs import CHROMIUM, WAIT_MS, browser

from orchestrator.decide.states import TrialState
from orchestrator.record.events import Assigned, Noted, TrialEnd
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import make_plan
from orchestrator.study.loading import load_study

pytestmark = [pytest.mark.web, pytest.mark.long]

LOOKS, EVENTS_A_LOOK, SETTLED = 300, 20, 100
"""Versions that the page is told of, at most one a second, and what is new in each; looks until all trials
ended."""


def held(session: Any) -> dict[str, float]:
    """What the browser holds for the page once it has collected its garbage."""
    session.send("HeapProfiler.collectGarbage")
    metrics = session.send("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in metrics}


def test_what_a_browser_holds_of_an_open_page_does_not_grow(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    write_files(tmp_path)
    file = tmp_path / "configs" / "small.yaml"
    file.write_text(file.read_text().replace("seeds: 2", "seeds: 25"))
    spec = load_study(file).spec
    record = StudyRecord.open(Storage.open(tmp_path / "runs"), spec, make_plan(spec), Start("0" * 64))
    cells = list(record.plan.cells)
    found = []
    with serving(tmp_path) as address, browser() as page:
        page.goto(address)
        page.get_by_role("link", name="small").click()
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        for look in range(LOOKS):
            if look < len(cells):
                cell = cells[look]
                record.append(Assigned(cell.cell, cell.arm, cell.seed, 1, "lane-0", None))
                end = (TrialState.DONE, None, None, 3.0, 1.0 / (1 + look))
                record.append(TrialEnd(cell.cell, cell.arm, cell.seed, 1, *end, wall_s=1.0, gpu_s=0.0))
            for number in range(EVENTS_A_LOOK):
                record.append(Noted(f"event {number} of look {look}."))
            record.sync()
            page.get_by_text(f"event {EVENTS_A_LOOK - 1} of look {look}.").wait_for(timeout=WAIT_MS)
            if look % 10 == 0:
                found.append((look, held(session)))
    record.close()
    settled = [(look, values) for look, values in found if look >= SETTLED]
    middle = len(settled) // 2
    for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners"):
        # the least of each half: now and then the browser still has the part that was just replaced
        first, last = (min(one[name] for _, one in half) for half in (settled[:middle], settled[middle:]))
        with (tmp_path / "held.txt").open("a") as log:
            log.write(f"{name}: {first:.0f}, later {last:.0f}\n")
        assert last < 1.05 * first, (name, found)
