"""A study from a click to its report, in a real browser, with the real command on real Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from page_tour import PHONE, RUN_MS, WIDE, choose, drawn, ended, fits, press, serving, start, validate
from tensorboard_tabs import CHROMIUM, WAIT_MS, browser

pytestmark = [pytest.mark.web, pytest.mark.ray]

STUDY = """\
name: picked
entrypoint: trial:train
metric: {name: loss, mode: min}
baseline: {level: 1.0, kind: plain, dir: '{dir}'}
components:
  level: {swap: {two: {level: 2.0}}}
  kind: {swap: {other: {kind: other}}}
seeds: 3
stopping: {rule: none, max: 400, unit: epoch}
resources: {max_parallel: 1}
"""
TRIAL = '''\
"""Reports slowly until a file says that it may hurry."""

import time
from pathlib import Path

import ray.train


def train(config):
    for epoch in range(1, int(config["max_length"]) + 1):
        if not (Path(config["dir"]) / "hurry").exists():
            time.sleep(0.1)
        ray.train.report({"epoch": epoch, "loss": (config["level"] + 0.01 * config["seed"]) / epoch})
'''


def test_a_study_from_a_click_to_its_report(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "picked.yaml").write_text(STUDY.replace("{dir}", str(tmp_path)))
    (tmp_path / "trial.py").write_text(TRIAL)
    settings = {"baseline.level": "1.5", "seeds": "2"}
    with browser() as page:
        page.set_viewport_size(WIDE)
        with serving(tmp_path) as address:
            page.goto(address)
            choose(page, "configs/picked.yaml", {**settings, "seeds": "[1, 1]"})
            assert "names a seed twice" in validate(page)
            said = _with_the_keyboard(page, settings)
            assert "2 arms × 2 seeds = 4 trials" in said
            words = "baseline.level=1.5 seeds=2 components.kind=null"
            assert f"orchestrate ablate --config configs/picked.yaml {words}" in said
            assert "a new study" in said
            press(page, "button[value=start]")
            page.wait_for_url("**/launches/*", timeout=WAIT_MS)
            page.locator("a.button.main").wait_for(timeout=RUN_MS)
            press(page, "a.button.main")
            page.locator(".chips .running").first.wait_for(timeout=RUN_MS)
        # the server has ended, the study has not
        page.get_by_text("The server is away").wait_for(timeout=WAIT_MS)
        with serving(tmp_path) as address:
            page.goto(address)
            page.get_by_role("link", name="picked").wait_for(timeout=WAIT_MS)
            press(page, "a[href$='/studies/picked/']")
            page.get_by_role("link", name="Stop").wait_for(timeout=WAIT_MS)
            press(page, "a[href=stop]")
            page.wait_for_url("**/stop", timeout=WAIT_MS)
            press(page, "form[action$=stop] button")
            ended(page)
            (tmp_path / "hurry").touch()
            choose(page, "configs/picked.yaml", settings, without=("kind=other",))
            start(page)
            page.get_by_role("heading", name="Effects").wait_for(timeout=RUN_MS)
            ended(page)
            drawn(page)
            _again(page)
            _phone(page)
            _board(page)
            page.get_by_role("link", name="Report", exact=True).click()
            page.locator(".chart svg").first.wait_for(timeout=WAIT_MS)
            assert page.evaluate("window.origin") == "null"  # apart from our pages and their cookie
            page.get_by_role("link", name="results", exact=True).click()
            page.get_by_text("level=two").first.wait_for(timeout=WAIT_MS)
    rows = pq.read_table(tmp_path / "runs" / "picked" / "results.parquet").to_pylist()
    assert [(row["arm"], row["seed"], row["state"]) for row in rows] == [
        (arm, seed, "done") for arm in ("baseline", "level=two") for seed in (0, 1)
    ]
    effects = json.loads((tmp_path / "runs" / "picked" / "effects.json").read_text())["effects"]
    assert [effect["arm"] for effect in effects] == ["level=two"]


def _with_the_keyboard(page: Any, settings: dict[str, str]) -> str:
    """Open the form of the only study file, fill it and ask what would start; no mouse."""
    press(page, "nav a[href$='/new']")
    page.locator("[name=seeds]").wait_for(timeout=WAIT_MS)
    for name, value in settings.items():
        press(page, f'[name="{name}"]', "Control+A")
        page.keyboard.type(value)
    press(page, 'input[name=component][value="kind=other"]', "Space")
    press(page, "button[value=validate]")
    answer = page.locator("#answer")
    answer.wait_for(timeout=WAIT_MS)
    return str(answer.inner_text())


def _again(page: Any) -> None:
    """One cell that has its answer begins anew, and nothing else runs."""
    study = page.url
    press(page, "a[aria-label='Retry level=two seed 1']")
    page.get_by_text("It has its answer").wait_for(timeout=WAIT_MS)
    press(page, "form[action$=retry] button")
    page.wait_for_url("**/launches/*", timeout=WAIT_MS)
    page.locator("#state", has_text="has its answer").wait_for(timeout=RUN_MS)
    assert "level=two seed 1: done" in page.locator(".output").inner_text()
    page.goto(study)
    attempts = page.locator("#cells tbody tr").evaluate_all(
        "rows => rows.map(row => [row.children[0].innerText, row.children[4].innerText])"
    )
    assert {name: number for name, number in attempts if name.startswith("level")} == {
        "level=two seed 0": "1",
        "level=two seed 1": "2",
    }


def _phone(page: Any) -> None:
    """Every page fits a phone."""
    page.set_viewport_size(PHONE)
    study = page.url
    for path in ("/", "/new", study):
        page.goto(path if path == study else study.split("/studies/")[0] + path)
        assert fits(page), path
    page.set_viewport_size(WIDE)


def _board(page: Any) -> None:
    """TensorBoard comes up behind the page, and back."""
    study = page.url
    page.get_by_role("button", name="TensorBoard").click()
    page.get_by_text("level=two/seed-1").first.wait_for(timeout=RUN_MS)
    page.goto(study)
