"""report.html: offline, linked, and with the numbers of the report in its charts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import plotly.graph_objects as go
import pytest

from orchestrator.reporting.model import Provenance
from orchestrator.reporting.page import to_html
from orchestrator.stats.results import INTERACTS, PairedT, Share

BASE = {0: 0.90, 1: 0.92, 2: 0.91}
ARMS = {"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83, 2: 0.82}, "no-aug": {0: 0.9, 1: 0.93, 2: 0.90}}
CURVES = {
    "baseline": {seed: [0.5, 0.7, 0.8, 0.9 + seed / 100] for seed in range(3)},
    "no-bn": {seed: [0.6, 0.7, 0.75, 0.8] for seed in range(3)},
}


class Page(HTMLParser):
    """Links, sources, texts of elements with an id, and what is loaded from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.loaded: list[str] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._href = self._script = None
        self.feed(html)

    def handle_starttag(self, tag, attributes) -> None:
        given = dict(attributes)
        if tag == "a":
            self._href = given.get("href")
        if tag == "script":
            self._script = given.get("id", "")
        if tag in ("script", "img", "link", "iframe", "object", "source"):
            self.loaded += [given[key] for key in ("src", "href", "data") if key in given]

    def handle_endtag(self, tag) -> None:
        self._href = None if tag == "a" else self._href
        self._script = None if tag == "script" else self._script

    def handle_data(self, data) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
            return
        self.text += data
        if self._href is not None and data.strip():
            self.links.setdefault(f"{data.strip()} -> {self._href}", self._href)


def interaction(report):
    main, both = report.first.effects[0], ("bn", "aug")
    one = replace(main, arm="no-bn+no-aug", kind="interaction", components=both, verdict=INTERACTS)
    return replace(report, evaluations=(replace(report.first, interactions=(one,)),))


def test_nothing_is_loaded_from_elsewhere(study) -> None:
    html = to_html(study(ARMS, curves=CURVES).report)
    page = Page(html)
    assert page.loaded == []
    assert not [link for link in page.links.values() if "://" in link or link.startswith(("/", ".."))]
    css = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in css
    assert "@import" not in css


def test_every_number_leads_to_its_trial(study) -> None:
    made = study(ARMS)
    report = replace(made.report, provenance=Provenance(commit="0123456789abcdef", dirty=True))
    html = to_html(report)
    page = Page(html)
    for arm in report.all_arms:
        for run in arm.runs:
            (text,) = [k for k, link in page.links.items() if unquote(link) == f"{run.trial_dir}/"]
            assert f"{run.value:.3f}"[:5] in text
            title = re.search(rf'href="{re.escape(run.trial_dir)}/" title="([^"]+)"', html).group(1)
            assert f"seed {run.seed}, cell {run.cell}, done, 9 epochs" in title
            assert "commit 0123456789ab" in title
    assert f"plan {report.plan_hash}, commit 0123456789ab with uncommitted changes" in page.text


def test_the_charts_hold_the_effects(study) -> None:
    report = interaction(study(ARMS, curves=CURVES, report={"margin": 0.02}).report)
    charts = json.loads(Page(to_html(report)).scripts["charts"])
    assert set(charts) == {
        *(f"{name}-fixed" for name in ("forest", "seeds", "interactions", "deltas", "curves", "variance")),
        "ledger",
    }
    for chart in charts.values():
        go.Figure({"data": chart["data"], "layout": chart["layout"]})  # refuses what Plotly does not know
    forest = charts["forest-fixed"]
    for trace, effect in zip(forest["data"], report.first.all_effects, strict=True):
        (delta,) = trace["x"]
        assert delta == pytest.approx(100 * effect.delta)
        assert delta + trace["error_x"]["array"][0] == pytest.approx(100 * effect.hi)
        assert delta - trace["error_x"]["arrayminus"][0] == pytest.approx(100 * effect.lo)
    margin = next(shape for shape in forest["layout"]["shapes"] if shape["name"] == "margin")
    assert (margin["x0"], margin["x1"]) == pytest.approx((-2, 2))
    seed = charts["seeds-fixed"]["data"][1]
    assert seed["y"] == [0.92, 0.83, None, 0.92, 0.93, None]
    assert seed["customdata"][1] == "trials/no-bn/seed-1/"
    curve = next(trace for trace in charts["curves-fixed"]["data"] if trace["name"] == "no-bn")
    assert curve["y"] == pytest.approx([0.6, 0.7, 0.75, 0.8])
    deltas = charts["deltas-fixed"]["data"]
    assert [trace["name"] for trace in deltas] == ["no-bn (crosses)", "no-bn: crossings"]
    bars = [trace for trace in charts["ledger"]["data"] if trace["type"] == "bar"]
    assert sum(sum(bar["x"]) for bar in bars) == report.ledger.spent


def test_without_any_effect_there_is_no_empty_forest(study, ended) -> None:
    broken = dict.fromkeys(range(3), ended(state="failed", cause="user", reason="boom"))
    page = to_html(study({"baseline": broken, "no-bn": broken}).report)
    assert set(json.loads(Page(page).scripts["charts"])) == {"ledger"}
    assert "no finished run (3 failed)" in page
    assert "baseline has no value under any seed" in page


def test_the_forest_tells_n(study) -> None:
    report = interaction(study(ARMS).report)
    labels = json.loads(Page(to_html(report)).scripts["charts"])["forest-fixed"]["layout"]["annotations"]
    assert labels[0]["text"] == "no-bn, n = 3/3"
    assert any(" × " in label["text"] for label in labels)


def test_what_stands_behind_an_effect_is_there(study) -> None:
    report = study(ARMS).report
    rich = replace(
        report.first.effects[0],
        plain=PairedT(-0.09, 0.01, -0.12, -0.06, 0.004),
        wins=Share(0.0, 0.0, 0.71, 3),
        percent=-10.2,
        g_z=-4.9,
        wide_lo=-0.13,
        wide_hi=-0.05,
        flags=("noisy",),
    )
    report = replace(report, evaluations=(replace(report.first, effects=(rich,)),))
    text = Page(to_html(report)).text
    for part in ("[−12.0, −6.0], p = .004", "0 % [0 %, 71 %]", "−10 %", "−4.9", "[−13.0, −5.0]", "noisy"):
        assert part in text


def test_what_is_missing_stands_at_the_top(study) -> None:
    text = Page(to_html(study({"baseline": BASE, "no-bn": {0: 0.8}}).report)).text
    assert text.index("incomplete: 4 of 6 cells have ended, 2 are left") < text.index("higher is better")


def test_names_and_reasons_are_not_markup(study, ended) -> None:
    reason = "<script>alert(1)</script><img src=http://x/y> {{ 7 * 7 }}"
    broken = ended(None, "failed", "user", reason, 1)
    metric = {"name": "</script><b>acc", "mode": "max"}
    report = study({"baseline": BASE, "no-bn": {**BASE, 1: broken}}, metric=metric).report
    page = Page(to_html(report))
    assert page.loaded == []
    assert reason in page.text
    assert "</script><b>acc" in page.text
    assert "alert" not in "".join(page.scripts[name] for name in page.scripts if name == "charts")


@pytest.mark.web
@pytest.mark.slow
def test_a_browser_shows_the_page_without_an_error(study, tmp_path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium here")
    report = interaction(study(ARMS, curves=CURVES).report)
    file = tmp_path / "report.html"
    probe = "<script>document.title = [...document.querySelectorAll('.chart .main-svg')].length</script>"
    file.write_text(to_html(report).replace("</body>", f"{probe}</body>"), encoding="utf-8")
    shot = tmp_path / "page.png"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu", profile]
    common += ["--enable-logging=stderr", "--virtual-time-budget=8000"]
    drawn = subprocess.run(
        [*common, f"--screenshot={shot}", "--window-size=1200,900", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert [line for line in drawn.stderr.splitlines() if "CONSOLE" in line] == []
    assert shot.stat().st_size > 20_000
    dumped = subprocess.run(
        [*common, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    charts = len(json.loads(Page(dumped.stdout).scripts["charts"]))
    assert int(re.search(r"<title>(\d+)</title>", dumped.stdout).group(1)) >= charts
