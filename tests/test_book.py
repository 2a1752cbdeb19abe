"""The book: built without a warning, every link checked, and no page of it asks the network for anything."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import playwright
import pytest

from orchestrator.reporting.glossary import whole_glossary

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WRITTEN = ["reference/study.md", "reference/cli.md", "reference/python.md", "glossary.md"]
LOADING = {"img": "src", "script": "src", "iframe": "src", "source": "src", "embed": "src", "object": "data"}
ELSEWHERE = re.compile(r"^(\w+:)?//")
FETCHED = re.compile(r"""(?:url\(\s*["']?|@import\s+["']?)((?:https?:)?//[^"')\s]+)""")
FIRST = 5
"""Of what a search offers, what one reads before giving up."""
ASKING = re.compile(r"""(?:fetch|importScripts|open|import)\(\s*(?:["'`]\w+["'`],\s*)?["'`](?:https?:)?//""")


def built(source: Path, site: Path) -> tuple[str, int]:
    """What the command of `make book` says of a directory, and its exit code."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [options] = re.findall(r"\$\(BIN\)/sphinx-build (.*) -c docs/book \. build/book$", makefile, re.MULTILINE)
    words = [*options.split(), "-c", str(DOCS / "book"), str(source), str(site)]
    command = [sys.executable, "-m", "sphinx", *words]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr, done.returncode


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the repository."""
    site = tmp_path_factory.mktemp("book")
    assert built(ROOT, site) == ("", 0)
    return site


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "book" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


class Loaded(HTMLParser):
    """What a browser loads for a page, besides the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADING:
            self.found.append(given.get(LOADING[tag]) or "")
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "index", "search"):
            self.found.append(given.get("href") or "")


def loaded(page: Path) -> list[str]:
    parser = Loaded()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


@pytest.mark.long
def test_every_page_is_in_it_once(book: Path) -> None:
    pages = {path.relative_to(ROOT).with_suffix("") for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]}
    assert {page for page in pages if not (book / f"{page}.html").exists()} == set()
    assert "docs/README.html" in (book / "index.html").read_text(encoding="utf-8")
    assert (book / "files" / "configs" / "digits-planted.yaml.html").exists()


@pytest.mark.long
def test_nothing_is_asked_of_another_machine(book: Path) -> None:
    pages = list(book.rglob("*.html"))
    assert len(pages) > 40
    found = {str(page.relative_to(book)): [x for x in loaded(page) if ELSEWHERE.match(x)] for page in pages}
    assert {page: urls for page, urls in found.items() if urls} == {}
    files = [path for kind in ("css", "svg", "html") for path in book.rglob(f"*.{kind}")]
    assert {path: urls for path in files if (urls := FETCHED.findall(path.read_text(encoding="utf-8")))} == {}
    scripts = list(book.rglob("*.js"))
    assert {
        path: urls for path in scripts if (urls := ASKING.findall(path.read_text(encoding="utf-8")))
    } == {}


@pytest.mark.long
def test_what_a_page_loads_is_there(book: Path) -> None:
    missing = [
        (str(page.relative_to(book)), url)
        for page in book.rglob("*.html")
        for url in loaded(page)
        if url and not url.startswith("data:") and not (page.parent / re.split("[?#]", url)[0]).exists()
    ]
    assert missing == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a](nowhere.md)", "nowhere.md"),
        ("[a](nowhere.py)", "nowhere.py"),
        ("[a](other.md#nowhere)", "local id not found"),
        ("[a](#nowhere)", "'nowhere'"),
        ("![a](nowhere.png)", "image file not readable"),
        ("", "document isn't included in any toctree"),
    ],
)
def test_a_broken_link_fails_the_build(tmp_path: Path, text: str, said: str) -> None:
    docs = tmp_path / "source" / "docs"
    docs.mkdir(parents=True)
    listed = "* [Other](other.md): a page.\n" if text else ""
    (docs / "README.md").write_text(f"# The book\n\n{text}\n\n## Pages\n\n{listed}", encoding="utf-8")
    (docs / "other.md").write_text("# Other\n\n## There\n", encoding="utf-8")
    warned, code = built(docs.parent, tmp_path / "site")
    assert code == 1
    assert said in warned


@pytest.fixture(scope="module")
def offered(book: Path) -> dict[str, list[str]]:
    """What the search offers for each word, best first: the own scripts of the site over its own index."""
    node = Path(playwright.__file__).parent / "driver" / "node"
    words = list(whole_glossary())
    command = [str(node), str(ROOT / "tests" / "fixtures" / "book_search.js"), str(book)]
    done = subprocess.run(command, input="\n".join(words), capture_output=True, text=True, check=True)
    return dict(zip(words, json.loads(done.stdout), strict=True))


@pytest.mark.long
@pytest.mark.parametrize("word", whole_glossary())
def test_the_search_finds_every_word_of_a_report(
    book: Path, offered: dict[str, list[str]], word: str
) -> None:
    places = [place for place in offered[word][:FIRST] if place.startswith("docs/glossary#")]
    page = (book / "docs" / "glossary.html").read_text(encoding="utf-8")
    sections = [
        page.partition(f'<section id="{place.partition("#")[2]}">')[2].partition("</section>")[0]
        for place in places
    ]
    plain = " ".join(re.sub(r"<[^>]+>", "", "".join(sections)).split())
    for meaning in whole_glossary()[word]:
        assert meaning[1:].replace("’", "'") in plain.replace("’", "'")


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_the_reference_is_what_the_code_says(reference: ModuleType, name: str) -> None:
    assert list(reference.PAGES) == WRITTEN
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == reference.PAGES[name](), "write it anew: python docs/book/reference.py"


@pytest.mark.slow
def test_the_reference_leaves_no_public_name_out(reference: ModuleType) -> None:
    import orchestrator
    import orchestrator.stats

    assert set(reference.ORDER["orchestrator"]) == {*orchestrator.__all__} - {"__version__"}
    assert set(reference.ORDER["orchestrator.stats"]) == {*orchestrator.stats.__all__}
