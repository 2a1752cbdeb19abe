"""The pages in a browser, light and dark: no fault that axe-core finds, nothing that takes a mouse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import press, reach, serving, sound
from served_site import record_study, write_files
from tensorboard_tabs import CHROMIUM, browser

from orchestrator.record.events import Noted
from orchestrator.record.studyrecord import StudyRecord

pytestmark = pytest.mark.web

LAUNCH = "20260101-000000-00000000"


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


def test_axe_finds_no_fault_of_any_grade(shown: tuple[Any, StudyRecord]) -> None:
    """Of pages that no study leads to which goes well: those of one that does are in the tour."""
    page, _ = shown
    home = page.url
    page.goto(f"{home}studies/small/")
    failed = page.get_by_role("link", name="no-batchnorm seed 0", exact=True).get_attribute("href")
    places = [
        "?studies=-name&study=b",
        "new?config=configs/bad.yaml",
        f"launches/{LAUNCH}",
        "leave",
        "studies/none/",
        "studies/broken/",
        "studies/small/?cells=-value&state=failed&arms=mean",
        f"studies/small/{failed}",
    ]
    for place in places:
        page.goto(home + place)
        sound(page)
    page.goto(f"{home}new?config=configs/small.yaml")
    page.locator("[name=seeds]").fill("[1, 1]")
    page.get_by_role("button", name="Validate").click()
    page.locator("#answer", has_text="names a seed twice").wait_for()
    sound(page)


def test_the_focus_outlives_what_is_redrawn(shown: tuple[Any, StudyRecord]) -> None:
    page, record = shown
    page.get_by_role("link", name="busy").click()
    for what in ("Stop", "baseline seed 0: done", "Files"):
        page.get_by_role("link", name=what).focus()
        record.append(Noted(f"after {what}"))
        record.sync()
        page.get_by_text(f"after {what}").wait_for()
        assert what in page.evaluate("document.activeElement.title || document.activeElement.innerText")
    page.get_by_role("link", name="Stop").focus()
    record.lease.release()
    page.locator("#driver").get_by_text("nobody runs it now").wait_for()
    assert page.evaluate("document.activeElement.matches('[data-live]')")


def test_the_keyboard_sorts_and_searches(shown: tuple[Any, StudyRecord]) -> None:
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


def test_what_is_ticked_outlives_a_list_that_is_redrawn(shown: tuple[Any, StudyRecord]) -> None:
    page, record = shown
    for name in ("busy", "small"):
        press(page, f"input.tick[value={name}]", "Space")
    page.keyboard.press("Tab")  # a box that has the focus is not redrawn
    tag = page.evaluate("document.querySelector('[data-live]').dataset.tag")
    record.append(Noted("something new"))
    record.sync()
    page.wait_for_function("tag => document.querySelector('[data-live]').dataset.tag !== tag", arg=tag)
    assert page.locator("input.tick:checked").count() == 2


def test_what_is_chosen_and_not_sent_outlives_what_is_redrawn(shown: tuple[Any, StudyRecord]) -> None:
    page, record = shown
    page.get_by_role("link", name="busy").click()
    page.locator("input[name=arm]").fill("kind")
    page.locator("select[name=state]").select_option("failed")
    page.get_by_role("link", name="Files").focus()
    record.append(Noted("after both"))
    record.sync()
    page.get_by_text("after both").wait_for()
    assert page.locator("input[name=arm]").input_value() == "kind"
    assert page.locator("select[name=state]").input_value() == "failed"
