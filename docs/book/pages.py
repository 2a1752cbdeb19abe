"""What the book adds to its pages: their order, and what they link to that is no page.

On a code host the Markdown files are read as they are. So the order is a list of links (docs/README.md), and
files of the repository are linked as files; in the book such a link leads to a page that shows the file.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx

ORDER, EXAMPLES = "docs/README", "docs/examples/README"
CHAPTER = re.compile(r"^## (.+)$", re.MULTILINE)
ENTRY = re.compile(r"^\* \[([^]]+)\]\(([\w./-]+)\.md\)", re.MULTILINE)
ENTRANCE = f"""<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={ORDER}.html">
<title>The book</title>
<a href="{ORDER}.html">The book</a>
"""
BINARY = (".html", ".ipynb", ".png")
"""What a reader gets as a file: a report opens as a page, a notebook where notebooks do."""


def put_in_order(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the tables of contents that the list of docs/README.md amounts to."""
    del app
    if docname == EXAMPLES:
        source[0] += "\n\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"
    if docname != ORDER:
        return
    _, *parts = CHAPTER.split(source[0])
    for chapter, text in zip(parts[::2], parts[1::2], strict=True):
        entries = "\n".join(f"{title} <{page}>" for title, page in ENTRY.findall(text))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {chapter}\n\n{entries}\n```\n"


class ShownFiles:
    """Files and directories of the repository that pages link to; each gets a page of its own."""

    def __init__(self) -> None:
        self._linked: set[Path] = set()

    def link(self, app: Sphinx, doctree: nodes.document) -> None:
        """Let every link to a file lead to the page that shows it."""
        docname = app.env.docname
        links = [*doctree.findall(addnodes.download_reference), *doctree.findall(addnodes.pending_xref)]
        for link in links:
            path = self._file(app, docname, link)
            if path is not None:
                self._linked.add(path)
                uri = app.builder.get_relative_uri(docname, _page(path))
                link.replace_self(nodes.reference("", "", *link.children, refuri=uri, internal=True))

    def _file(self, app: Sphinx, docname: str, link: nodes.Element) -> Path | None:
        """Return what a link leads to, from the root; None where it is a page, a download, or nowhere."""
        if link.get("refdomain") == "doc":
            page = link["reftarget"]
            return None if page in app.env.found_docs else Path(f"{page}.md")
        target = str(link["reftarget"])
        if target.startswith("#") or target.endswith(BINARY):
            return None
        path = Path(app.srcdir, docname).parent.joinpath(target).resolve()
        return path.relative_to(app.srcdir) if path.exists() and path.is_relative_to(app.srcdir) else None

    def pages(self, app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Show each of them."""
        for path in sorted(self._linked):
            found = Path(app.srcdir, path)
            body = _listed(found) if found.is_dir() else _shown(app, found)
            title = html.escape(path.as_posix())
            yield _page(path), {"title": title, "body": f"<h1><code>{title}</code></h1>\n{body}"}, "page.html"


def _page(path: Path) -> str:
    return f"files/{path.as_posix()}"


def _shown(app: Sphinx, path: Path) -> str:
    try:
        language = get_lexer_for_filename(path.name.removesuffix(".in")).aliases[0]
    except ClassNotFound:
        language = "text"
    text = path.read_text(encoding="utf-8")
    return str(app.builder.highlighter.highlight_block(text, language, force=True))


def _listed(folder: Path) -> str:
    names = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in folder.iterdir()
        if not entry.name.startswith((".", "__"))
    )
    return "<ul>" + "".join(f"<li><code>{html.escape(name)}</code></li>" for name in names) + "</ul>"


def write_entrance(app: Sphinx, problem: Exception | None) -> None:
    """Let `index.html` lead to the first page."""
    if problem is None:
        Path(app.outdir, "index.html").write_text(ENTRANCE, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Take part in the build."""
    files = ShownFiles()
    app.connect("source-read", put_in_order)
    app.connect("doctree-read", files.link, priority=100)  # before what would copy files as downloads
    app.connect("html-collect-pages", files.pages)
    app.connect("build-finished", write_entrance)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
