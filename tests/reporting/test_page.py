"""report.html: offline, linked, without a script, and with the numbers of the report in its charts."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.reporting import page as page_module
from orchestrator.reporting import palette
from orchestrator.reporting.figures import Drawn, Marks, draw_charts
from orchestrator.reporting.figures.inline import inline
from orchestrator.reporting.model import Provenance
from orchestrator.reporting.page import to_html
from orchestrator.stats.results import INTERACTS, PairedT, Share

BASE = {0: 0.90, 1: 0.92, 2: 0.91}
ARMS = {"baseline": BASE, "no-bn": {0: 0.8, 1: 0.83, 2: 0.82}, "no-aug": {0: 0.9, 1: 0.93, 2: 0.90}}
CURVES = {
    "baseline": {seed: [0.5, 0.7, 0.8, 0.9 + seed / 100] for seed in range(3)},
    "no-bn": {seed: [0.6, 0.7, 0.75, 0.8] for seed in range(3)},
}


NO_ICON = "data:,"


class Page(HTMLParser):
    """Links, texts, what is loaded from elsewhere, and of every chart what its marks say and open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.loaded: list[str] = []
        self.charts: dict[str, list[tuple[str, str | None]]] = {}
        self.tags: set[str] = set()
        self.text = self.drawn = ""
        self._href = self._inside = None
        self.feed(html)

    def handle_starttag(self, tag, attributes) -> None:
        given = dict(attributes)
        self.tags.add(tag)
        if "chart" in (given.get("class") or "").split():
            self._chart = self.charts.setdefault(given["id"], [])
        if tag == "a":
            self._href = given.get("href")
        if tag in ("title", "text"):
            self._inside = tag
            if tag == "title" and self.charts:
                self._chart.append(("", self._href))
        if tag in ("script", "img", "link", "iframe", "object", "source"):
            self.loaded += [
                given[key] for key in ("src", "href", "data") if key in given and given[key] != NO_ICON
            ]

    def handle_endtag(self, tag) -> None:
        self._href = None if tag == "a" else self._href
        self._inside = None if tag == self._inside else self._inside

    def handle_data(self, data) -> None:
        if self._inside == "title" and self.charts:
            text, href = self._chart.pop()
            self._chart.append((text + data, href))
            return
        self.drawn += f"{data}\n" * (self._inside == "text")
        self.text += data
        if self._href is not None and data.strip():
            self.links.setdefault(f"{data.strip()} -> {self._href}", self._href)


def interaction(report):
    main, both = report.first.effects[0], ("bn", "aug")
    one = replace(main, arm="no-bn+no-aug", kind="interaction", components=both, verdict=INTERACTS)
    return replace(report, evaluations=(replace(report.first, interactions=(one,)),))


def test_every_number_leads_to_its_trial(study) -> None:
    made = study(ARMS)
    report = replace(made.report, provenance=Provenance(commit="0123456789abcdef", dirty=True))
    html = to_html(report, ())
    page = Page(html)
    for arm in report.all_arms:
        for run in arm.runs:
            (text,) = [k for k, link in page.links.items() if unquote(link) == f"{run.trial_dir}/"]
            assert f"{run.value:.3f}"[:5] in text
            title = re.search(rf'href="{re.escape(run.trial_dir)}/" title="([^"]+)"', html).group(1)
            assert f"seed {run.seed}, cell {run.cell}, done, 9 epochs" in title
            assert "commit 0123456789ab" in title
    assert f"plan {report.plan_hash}, commit 0123456789ab with uncommitted changes" in page.text


@pytest.mark.slow
def test_the_charts_hold_the_effects(study) -> None:
    report = interaction(study(ARMS, curves=CURVES, report={"margin": 0.02}).report)
    drawn = draw_charts(report, ("svg",))
    html = to_html(report, drawn)
    charts = Page(html).charts
    names = ("forest", "seeds", "interactions", "deltas", "curves", "variance", "assumptions", "ledger")
    assert [chart.name for chart in drawn] == list(charts) == list(names)
    scale = report.scale
    for effect in report.first.all_effects:
        told = f"Δ {scale.delta(effect.delta)} {scale.interval(effect.lo, effect.hi)}\nn = 3, Holm p"
        marks = [
            mark for mark in charts["forest"] if told in mark[0] and effect.verdict in mark[0].split("\n")[-1]
        ]
        assert [link for _, link in marks] == [f"{report.folder_of(effect)}/"] * 2  # interval and Δ
    assert ("no-bn, seed 1: 0.83", "trials/no-bn/seed-1/") in charts["seeds"]
    assert ("baseline, seed 1: 0.92", "trials/baseline/seed-1/") in charts["seeds"]
    assert ("no-bn at 2: 0.7, n = 3, baseline 0.7", "trials/no-bn/") in charts["curves"]
    assert len(charts["curves"]) == 4
    assert [text.partition(":")[0] for text, _ in charts["deltas"]][:2] == ["no-bn at 1", "no-bn at 3"]
    assert charts["deltas"][-1] == ("no-bn: sign changes between 1 and 3, n = 3", "trials/no-bn/")
    assert ("no-bn: 1.528\nSD over seeds", "trials/no-bn/") in charts["variance"]
    sign = scale.delta(report.first.interactions[0].delta)
    assert charts["interactions"] == [
        (f"{a} and {b}: {sign}", "trials/") for a, b in (("bn", "aug"), ("aug", "bn"))
    ]
    bars = [re.search(r", done: ([\d.]+) epoch", text) for text, _ in charts["ledger"]]
    assert sum(float(bar[1]) for bar in bars if bar) == report.ledger.spent
    assert ("the grid: 27 epoch", None) in charts["ledger"]


@pytest.mark.slow
def test_charts_are_parts_of_the_page(study) -> None:
    """One file: charts take its colours, share no ids, bring no styles; no script, and nothing is fetched."""
    html = to_html(study(ARMS, curves=CURVES).report)
    page = Page(html)
    assert page.loaded == []
    assert "script" not in page.tags
    assert not [link for link in page.links.values() if "://" in link or link.startswith(("/", ".."))]
    css = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in css
    assert f'<link rel="icon" href="{NO_ICON}">' in html, "else a browser asks for one"
    assert "@import" not in css
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) <= set(ids)
    assert html.count("<style") == 1
    assert html.count('role="group" aria-label="') == html.count("<svg") == 7
    assert all(f"var(--{name})" in html for name in ("ink", "quiet", "axis", "grid", "card"))
    drawn = html.partition("<main>")[2]
    assert not [colour for colour in (palette.INK, palette.GRID, palette.CARD) if colour in drawn]
    assert len(html) < 200_000


@pytest.mark.slow
def test_forty_cells_with_all_their_charts_stay_below_a_megabyte(study) -> None:
    """Eight arms and five seeds of fifty epochs: what people mail each other."""
    names = ["baseline", *(f"no-component-{n}" for n in range(7))]
    values = {
        arm: {s: 0.9 + s / 100 - n / 50 + (s * n % 7) / 300 for s in range(5)} for n, arm in enumerate(names)
    }
    curves = {
        arm: {
            s: [end * (1 - 0.9 ** (t + 1)) + (t * s % 5) / 1000 for t in range(50)] for s, end in row.items()
        }
        for arm, row in values.items()
    }
    report = study(values, seeds=5, curves=curves, stopping={"rule": "none", "max": 50}).report
    assert report.total == 40
    html = to_html(report)
    assert {"forest", "seeds", "curves", "deltas", "ledger"} <= set(Page(html).charts)
    assert Page(html).loaded == []
    assert len(html.encode()) < 1_000_000


def test_paper_has_light_colours_and_no_cut_tables() -> None:
    css = (Path(page_module.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    assert re.findall(r"@media ([^{]*prefers-color-scheme: dark[^{]*) \{", css) == [
        "screen and (prefers-color-scheme: dark)"
    ]
    rules = css.partition("@media print {")[2]
    for selectors, rule in {
        ":root": "color-scheme: light",
        ".scroll": "overflow: visible",
        "figure, tr, li": "break-inside: avoid",
        "th, td, td.name, td.verdict, td.wide": "white-space: normal; overflow-wrap: anywhere; min-width: 0",
    }.items():
        assert re.search(rf"^\s*{re.escape(selectors)} \{{[^}}]*{re.escape(rule)}", rules, re.MULTILINE), rule


def test_without_any_effect_there_is_no_empty_forest(study, ended) -> None:
    broken = dict.fromkeys(range(3), ended(state="failed", cause="user", reason="boom"))
    report = study({"baseline": broken, "no-bn": broken}).report
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>'
    charts = [
        Drawn(name, name, phase, {"svg": svg}, Marks())
        for name, phase in (("forest", "fixed"), ("ledger", None))
    ]
    page = to_html(report, charts)
    assert list(Page(page).charts) == ["ledger"]
    assert "no finished run (3 failed)" in page
    assert "baseline has no value under any seed" in page


@given(st.lists(st.text(), min_size=1, max_size=3))
def test_whatever_a_mark_says_is_text(said) -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><g id="mark-0">{}</g></svg>'
    marks = Marks({"mark-0": [(text, f"trials/{text}/") for text in said]})
    uses = "<use/>" * len(said)
    html = inline(Drawn("a", "b", None, {"svg": svg.format(uses).encode()}, marks))
    page = Page(f'<div class="chart" id="a">{html}</div>')
    shown = [("".join(c for c in text if c.isprintable() or c == "\n"), f"trials/{text}/") for text in said]
    assert [(text, unquote(link)) for text, link in page.charts["a"]] == shown
    assert page.loaded == []


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
    text = Page(to_html(report, ())).text
    for part in ("[−12.0, −6.0], p = .004", "0 % [0 %, 71 %]", "−10 %", "−4.9", "[−13.0, −5.0]", "noisy"):
        assert part in text


def test_the_page_asks_its_server_for_no_icon(study) -> None:
    made = study({"baseline": {0: 0.9}}, seeds=1)
    assert '<link rel="icon" href="data:,">' in to_html(made.report, charts=[])


def test_what_is_missing_stands_at_the_top(study) -> None:
    text = Page(to_html(study({"baseline": BASE, "no-bn": {0: 0.8}}).report, ())).text
    assert text.index("incomplete: 4 of 6 cells have ended, 2 are left") < text.index("higher is better")


@pytest.mark.parametrize(("gpu_s", "columns"), [(0.0, 0), (7200.0, 1)])
def test_hours_of_a_gpu_stand_in_the_table_of_effects_where_there_were_any(
    study, ended, gpu_s: float, columns: int
) -> None:
    run = ended(0.8, gpu_s=gpu_s)
    html = to_html(study({"baseline": BASE, "no-bn": {0: run, 1: run, 2: run}}).report, ())
    effects = html.partition("<h2>Effects</h2>")[2].partition("</table>")[0]
    assert "Holm p" in effects
    assert effects.count("GPU-hours") == columns


@pytest.mark.slow
def test_names_and_reasons_are_not_markup(study, ended) -> None:
    reason = "<script>alert(1)</script><img src=http://x/y> {{ 7 * 7 }}"
    broken = ended(None, "failed", "user", reason, 1)
    label = "<script>alert(2)</script> $\\frac{a}$ & \"q\" 'r'"
    report = study(
        {"baseline": BASE, "no-bn": {**BASE, 1: broken}},
        metric={"name": "</script><b>acc\x00", "mode": "max"},
        components={"bn": {"without": {"bn": False}, "label": label}},
    ).report
    html = to_html(report)
    page = Page(html)
    assert page.loaded == []
    assert "script" not in page.tags
    assert reason in page.text
    assert "</script><b>acc" in page.text
    assert label in page.text
    assert page.charts["forest"][0][0].startswith(f"without {label}\n")
    assert "</script><b>acc" in page.drawn
    assert "without <script>" in page.drawn
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", html)


@pytest.mark.web
@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 400)])
def test_a_browser_shows_the_page_without_an_error(study, tmp_path, scheme: str, width: int) -> None:
    player = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive a browser")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("needs chromium")
    file = tmp_path / "report.html"
    file.write_text(to_html(interaction(study(ARMS, curves=CURVES).report)), encoding="utf-8")
    said = []
    with player.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: said.append(request.url))
        page.goto(file.as_uri())
        assert said == [file.as_uri()]
        charts = "[...document.querySelectorAll('.chart svg')].filter(svg => svg.clientWidth > 300).length"
        assert page.evaluate(charts) == 8
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.locator("#interactions a").first.hover()  # nothing lies above the marks
        faults = axe.Axe().run(page).response["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == []
        browser.close()
