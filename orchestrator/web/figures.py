"""What figures of the page are made of: Plotly's form as plain data, without Plotly.

Pure. A figure is `data`, `layout` and `words`, what it says beside it; colours named `var(--ink)` are those
of the page, light or dark. Names are text: Plotly reads tags and entities in every text.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from orchestrator.study.visible import shortened, visible

Figure = dict[str, Any]
MOST_LETTERS = 80
"""Of a name in a figure; the tables have all of it."""
MOST_WORDS = 600
"""Letters of what a figure says beside it, which is no text of Plotly's: nothing in it is a tag."""
LABEL = 26
"""Of a name beside an axis: a phone has room for it."""
DIGITS = 6


def figure(data: Sequence[Figure], layout: Mapping[str, Any], words: str = "") -> Figure:
    """Return a figure. `layout`: what it has of its own; zoom and what was hidden stay when it is new."""
    said = shortened(visible(" ".join(words.split())), MOST_WORDS)
    return {"data": list(data), "layout": {"uirevision": "kept", **layout}, "words": said}


def to_bytes(made: Figure) -> bytes:
    """Return the JSON of a figure. Raises `ValueError` for a number that is not finite."""
    return json.dumps(made, allow_nan=False, separators=(",", ":")).encode()


def text(name: object, most: int = MOST_LETTERS) -> str:
    """Return a name as Plotly shows it, letter by letter: visible, not longer than it may be, no tag."""
    return escape(shortened(visible(" ".join(str(name).split())), most), quote=False)


def in_template(name: object) -> str:
    """Return a name for a text in which Plotly fills in values."""
    return text(name).replace("%", "&#37;")


def number(value: float | None) -> float | None:
    """Return a number with the digits that a figure can show; None for one that is not finite."""
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """Return `number` of each."""
    return [number(value) for value in values]


def uid(*words: str) -> str:
    """Return by what Plotly knows a trace again: a name that is short and means nothing to it."""
    return sha256("\0".join(words).encode(errors="backslashreplace")).hexdigest()[:12]


def labels(names: Iterable[str], most: int = LABEL) -> list[str]:
    """Return names for an axis of categories, each another one: long ones lose their middle."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        label = visible(" ".join(name.split()))
        if len(label) > most:
            tail = most // 2 - 1
            label = f"{label[: most - tail - 1]}…{label[-tail:]}"
        seen[label] += 1
        found.append(escape(label if seen[label] == 1 else f"{label} ({seen[label]})", quote=False))
    return found


def faint(colour: str, opacity: float = 0.15) -> str:
    """Return a colour of the form `#rrggbb` as one that lets through what is below."""
    red, green, blue = bytes.fromhex(colour[1:])
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def line_at(value: float, colour: str = "var(--quiet)", dash: str = "dot", axis: str = "x") -> Figure:
    """Return a line across the whole figure where an axis has this value; it lies over the grid."""
    other = "y" if axis == "x" else "x"
    ends = {f"{axis}0": value, f"{axis}1": value, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper"}
    return {"type": "line", **ends, "layer": "above", "line": {"color": colour, "width": 1, "dash": dash}}
