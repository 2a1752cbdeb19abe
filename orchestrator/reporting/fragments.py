"""Pieces of HTML for notebooks: every text is escaped here, and styles stand beside what they are for."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from html import escape

_QUIET = "opacity: 0.7; margin: 0.3em 0"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return a table of texts; `right`: the columns that are aligned to the right."""
    sides = [f' style="text-align: {"right" if n in right else "left"}"' for n in range(len(headings))]
    head = _row("th", headings, sides)
    body = "".join(_row("td", row, sides) for row in rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, texts: Sequence[str], sides: Sequence[str]) -> str:
    cells = (f"<{tag}{side}>{escape(text)}</{tag}>" for text, side in zip(texts, sides, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def title(name: str, more: str = "") -> str:
    """Return a line with a name in bold."""
    return f"<p><strong>{escape(name)}</strong>{f' {escape(more)}' if more else ''}</p>"


def line(text: str, *, quiet: bool = False, warning: bool = False) -> str:
    """Return a paragraph."""
    style = _QUIET if quiet else "font-weight: bold; color: #b07b10" if warning else "margin: 0.3em 0"
    return f'<p style="{style}">{escape(text)}</p>'


def facts(found: dict[str, str]) -> str:
    """Names and what is said of them."""
    return table(("", ""), list(found.items())).replace("<thead>", '<thead style="display: none">', 1)


def picture(png: bytes, name: str) -> str:
    """Return a PNG that is part of the page."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(name)}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def block(*parts: str) -> str:
    """Several pieces, one below the other."""
    return f"<div>{''.join(parts)}</div>"
