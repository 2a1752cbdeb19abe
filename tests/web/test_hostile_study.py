"""The page of a study that somebody has written who means harm: there, inert, and no larger than others."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from served_site import Served, record_study, serve, write_files

from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.events import Assigned, AttemptFailed, Noted, TrialEnd
from orchestrator.study.visible import visible

pytestmark = pytest.mark.slow

TEXTS = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>'\"><svg onload=alert(1)>",
    "control": "\x1b]0;title\x07\x1b[2J\x00\x08\r\x9b31m",
    "bidi": "safe\u202egnp.exe\u2066\u200f\ufeff",
    "surrogate": "caf\udce9 \ud800",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
    "long": "<b>" * 350_000,
    "lines": "a\n" * 200_000,
}
MOST_BYTES = 300_000


class Tags(HTMLParser):
    """Collects (tag, attribute) of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {(tag, ""), *((tag, name) for name, _ in attrs)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    write_files(root)
    text = (root / "configs" / "small.yaml").read_text()
    (root / "configs" / "busy.yaml").write_text(text.replace("name: small", "name: busy"))
    record_study(root)
    return root


@pytest.fixture(params=TEXTS)
def said(request: pytest.FixtureRequest) -> str:
    return TEXTS[request.param]


@pytest.fixture
def served(folder: Path, tmp_path: Path) -> Served:
    return serve(shutil.copytree(folder, tmp_path, dirs_exist_ok=True))


def ours(served: Served) -> set[tuple[str, str]]:
    """Tags and attributes of the pages of a study that means no harm."""
    found = set().union(*(Tags(page).found for page in pages(served, "small")))
    more = {("form", "id"), ("form", "action"), ("form", "role"), ("td", "colspan"), ("span", "class")}
    ticks = {("input", name) for name in ("type", "class", "form", "name", "value", "aria-label")}
    return found | more | ticks | {("a", "href"), ("small", ""), ("select", ""), ("a", "aria-label")}


def pages(served: Served, name: str) -> Iterator[str]:
    """Every page that has something of a study on it."""
    place = f"/studies/{quote(name, safe='')}/"
    queries = ("", "?state=failed&cells=reason", "?arms=-name&cells=-value")
    for address in ("/", "/?studies=name", *(f"{place}{query}" for query in queries), f"{place}files/"):
        answer = served.client.get(address)
        assert answer.status_code == 200, address
        yield answer.text
    yield served.client.get("/new", params={"like": name}).text
    again = re.findall(r'href="(retry\?cell=[^"]+)"', served.client.get(place).text)
    for address in again[:1]:
        answer = served.client.get(f"{place}{address}")
        assert answer.status_code == 200, address
        yield answer.text


def inert(page: str, known: set[tuple[str, str]]) -> None:
    assert Tags(page).found <= known
    assert page == visible(page)
    assert len(page.encode()) < MOST_BYTES


def test_what_trials_say(served: Served, said: str) -> None:
    """In reasons, failures and notes, as a driver would have written them."""
    known = ours(served)
    record = record_study(served.root, "busy")
    for cell in record.plan.cells[4:]:
        record.append(Assigned(cell.cell, cell.arm, cell.seed, 1, "lane-0", None))
        record.append(AttemptFailed(cell.cell, 1, Cause.INFRA, said, again=True, node=None))
        record.append(Assigned(cell.cell, cell.arm, cell.seed, 2, "lane-0", None))
        end = (TrialState.FAILED, Cause.USER, said, 1.0, None)
        record.append(TrialEnd(cell.cell, cell.arm, cell.seed, 2, *end, wall_s=1.0, gpu_s=0.0))
        record.append(Noted(said))
    record.close()
    for page in pages(served, "busy"):
        inert(page, known)


@pytest.mark.parametrize("what", ["metric", "unit", "arm"])
def test_what_its_files_say(served: Served, said: str, what: str) -> None:
    """In names that no study file could have: somebody has written them by hand."""
    known = ours(served) | {("td", "colspan"), ("p", "role")}
    study = served.root / "runs" / "small"
    old, files = {
        "metric": ("name: loss", ("study.yaml",)),
        "unit": ("unit: epoch", ("study.yaml",)),
        "arm": ('"no-batchnorm"', ("plan.json", "journal.jsonl")),
    }[what]
    for file in files:
        text = (study / file).read_text()
        assert old in text
        new = f"{old.partition(':')[0]}: " if ":" in old else ""
        (study / file).write_text(text.replace(old, new + json.dumps(said[:100_000])))
    listed = served.client.get("/")
    assert listed.status_code == 200
    inert(listed.text, known)
    page = served.client.get("/studies/small/")
    assert page.status_code == (400 if "is damaged" in listed.text else 200)
    inert(page.text, known)
    for drawn in ("curves", "forest", "map"):
        answer = served.client.get(f"/studies/small/{drawn}.json")
        assert answer.status_code == page.status_code
        assert len(answer.content) < 10_000
        assert answer.text == visible(answer.text)
        if answer.status_code == 200:
            shown = json.dumps(answer.json(), ensure_ascii=False)
            assert shown == visible(shown)
            made = shown.partition('"words"')[0]  # which are no text of Plotly's, but the page's
            assert "<script" not in made
            assert "<img" not in made


def test_names_of_directories(served: Served) -> None:
    known = ours(served)
    name = "<img src=x onerror=alert(1)>\x1b[2J\u202e{{ 7 * 7 }}'\""
    shutil.copytree(served.root / "runs" / "small", served.root / "runs" / name)
    for page in pages(served, name):
        inert(page, known)


def test_study_files_whose_names_or_values_no_page_could_hold(served: Served) -> None:
    """Lone surrogates, of bytes that are no text or written as escapes."""
    text = (served.root / "configs" / "small.yaml").read_text()
    (served.root / "configs" / "caf\udce9.yaml").write_text(text)
    (served.root / "configs" / "odd.yaml").write_text(text.replace("kind: cnn", 'kind: "\\ud800\\u202e"'))
    assert served.client.get("/new").status_code == 200
    assert served.client.get("/new", params={"config": "configs/odd.yaml"}).status_code == 200
