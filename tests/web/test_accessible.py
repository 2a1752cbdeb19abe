"""The pages in a browser, light and dark: no fault that axe-core finds, nothing that takes a mouse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_tour import PHONE, RUN_MS, WIDE, fits, press, reach, serving
from served_site import record_study, write_files
from tensorboard_tabs import CHROMIUM, WAIT_MS, browser

from orchestrator.record.events import Noted
from orchestrator.record.studyrecord import StudyRecord

pytestmark = pytest.mark.web

LAUNCH = "20260101-000000-00000000"
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental")
"""Rules of axe-core; whatever grade a fault is of."""


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[tuple[Any, StudyRecord]]:
    """A browser on the page over a study that runs, one that does not, and one that is damaged; the record of
    the one that runs."""
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    write_files(tmp_path)
    record_study(tmp_path)
    text = (tmp_path / "configs" / "small.yaml").read_text()
    (tmp_path / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "plan.json").write_text("{")
    (tmp_path / "runs" / "small" / "report.md").write_text("# report\n")
    launches = tmp_path / ".orchestrate" / "launches"
    launches.mkdir(parents=True)
    (launches / f"{LAUNCH}.json").write_text(
        json.dumps({"words": ["ablate", "--config", "configs/small.yaml"], "pid": 1, "started": None})
    )
    (launches / f"{LAUNCH}.log").write_text("it went on\n" * 200)
    busy = record_study(tmp_path, "busy")
    with serving(tmp_path) as address, browser() as page:
        page.goto(address)
        page.get_by_role("link", name="small").wait_for()
        yield page, busy
    busy.close()


def faults(page: Any) -> list[str]:
    """What axe-core finds on a page: grade, rule, place, why."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response
    return [
        f"{page.url}: {rule['impact']}: {rule['id']}: {node['target']}: {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def test_axe_finds_no_fault_of_any_grade(shown: tuple[Any, StudyRecord]) -> None:
    page, _ = shown
    home = page.url
    places = ["", "new?config=configs/bad.yaml", "studies/small/", "studies/busy/", f"launches/{LAUNCH}"]
    places += [
        "new?config=configs/small.yaml",
        "studies/small/files/",
        "leave",
        "studies/none/",
        "studies/broken/",
        "?studies=-name&study=b",
        "studies/busy/stop",
        "compare?study=small&study=busy",
        "new?like=small",
        "studies/small/?cells=-value&state=failed&arms=mean",
    ]
    page.goto(f"{home}studies/small/")
    places.append(f"studies/small/{page.locator('a[href^=retry]').first.get_attribute('href')}")
    found = []
    for scheme, size, seeds in (("light", WIDE, "3"), ("dark", PHONE, "[1, 1]")):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        for place in places:
            page.goto(home + place)
            found += [f"{scheme}: {fault}" for fault in faults(page)]
        page.goto(f"{home}new?config=configs/small.yaml")
        page.locator("[name=seeds]").fill(seeds)
        page.get_by_role("button", name="Validate").click()
        page.locator("#answer").wait_for()
        found += [f"{scheme}: {fault}" for fault in faults(page)]
    assert not found, "\n".join(found)


def test_the_focus_outlives_what_is_redrawn(shown: tuple[Any, StudyRecord]) -> None:
    page, record = shown
    page.get_by_role("link", name="busy").click()
    for what in ("Stop", "baseline seed 0: done", "Files"):
        page.get_by_role("link", name=what).focus()
        record.append(Noted(f"after {what}"))
        record.sync()
        page.get_by_text(f"after {what}").wait_for(timeout=WAIT_MS)
        assert what in page.evaluate("document.activeElement.title || document.activeElement.innerText")
    page.get_by_role("link", name="Stop").focus()
    record.lease.release()
    page.locator("#driver").get_by_text("nobody runs it now").wait_for(timeout=WAIT_MS)
    assert page.evaluate("document.activeElement.matches('[data-live]')")


def test_the_keyboard_sorts_searches_and_runs_a_cell_again(shown: tuple[Any, StudyRecord]) -> None:
    page, _ = shown
    press(page, "a[href$='/studies/small/']")
    page.wait_for_url("**/studies/small/")
    orders = []
    for _ in range(3):
        press(page, "#cells-value") if not orders else page.keyboard.press("Enter")
        page.wait_for_function("known => location.search !== known", arg=orders[-1][0] if orders else "")
        page.wait_for_load_state()
        orders.append(
            page.evaluate(
                "[location.search, document.activeElement.id, document.activeElement.closest('th').ariaSort]"
            )
        )
    assert orders == [
        ["?cells=value", "cells-value", "ascending"],
        ["?cells=-value", "cells-value", "descending"],
        ["", "cells-value", "none"],
    ]
    reach(page, "input[name=arm]")
    page.keyboard.type("BASE")
    reach(page, "select[name=state]")
    page.keyboard.type("done")
    reach(page, "form[action='#cells'] button")
    page.keyboard.press("Enter")
    page.wait_for_url("**arm=BASE&state=done*")
    press(page, "a[aria-label='Retry baseline seed 0']")
    page.wait_for_url("**/retry?cell=*")
    press(page, "form[action$=retry] button")
    page.wait_for_url("**/launches/*", timeout=WAIT_MS)
    page.get_by_text("ended with exit code 2").wait_for(timeout=RUN_MS)  # of code that has changed
    assert "--accept-code-change" in page.locator(".output").inner_text()
    assert "orchestrate retry runs/small baseline 0" in page.locator(".command").inner_text()


def test_the_keyboard_ticks_two_studies_and_compares_them(shown: tuple[Any, StudyRecord]) -> None:
    """What is ticked outlives a list that is redrawn."""
    page, record = shown
    press(page, "input.tick[value=busy]", "Space")
    press(page, "input.tick[value=small]", "Space")
    page.keyboard.press("Tab")  # a box that has the focus is not redrawn
    tag = page.evaluate("document.querySelector('[data-live]').dataset.tag")
    record.append(Noted("something new"))
    record.sync()
    page.wait_for_function(
        "tag => document.querySelector('[data-live]').dataset.tag !== tag", arg=tag, timeout=WAIT_MS
    )
    assert page.locator("input.tick:checked").count() == 2
    reach(page, "form#compare button", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?study=busy&study=small")
    assert page.get_by_role("heading", name="busy, small").is_visible()


def test_what_is_chosen_and_not_sent_outlives_what_is_redrawn(shown: tuple[Any, StudyRecord]) -> None:
    page, record = shown
    page.get_by_role("link", name="busy").click()
    page.locator("input[name=arm]").fill("kind")
    page.locator("select[name=state]").select_option("failed")
    page.get_by_role("link", name="Files").focus()
    record.append(Noted("after both"))
    record.sync()
    page.get_by_text("after both").wait_for(timeout=WAIT_MS)
    assert page.locator("input[name=arm]").input_value() == "kind"
    assert page.locator("select[name=state]").input_value() == "failed"


def test_the_keyboard_goes_to_a_trial_and_back(shown: tuple[Any, StudyRecord]) -> None:
    page, _ = shown
    press(page, "a[href$='/studies/small/']")
    page.wait_for_url("**/studies/small/")
    chip = page.get_by_role("link", name="no-batchnorm seed 0: failed")
    press(page, f"a[href='{chip.get_attribute('href')}']")
    page.get_by_role("heading", name="no-batchnorm seed 0").wait_for(timeout=WAIT_MS)
    assert "failed: user" in page.locator("#state").inner_text().replace("\n", "")
    assert page.locator("#log").inner_text().strip() == "loading"
    for scheme, size in (("light", WIDE), ("dark", PHONE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        assert not faults(page)
        assert fits(page)
    press(page, "main p a[href='./']")
    page.get_by_role("heading", name="Cells").wait_for(timeout=WAIT_MS)
