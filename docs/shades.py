"""Let a figure be read in the light and in the dark, as the page that shows it is.

A figure is drawn for paper. What is added here holds on dark screens alone: ink, axes and ground get the
colours that `report.html` has there. Whatever knows no such rules sees the figure as it was drawn.
"""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.reporting import page, palette

SHADED = ("INK", "QUIET", "AXIS", "GRID", "FAINT", "CARD")
"""Colours that differ in the dark; those of verdicts and series are read on both grounds."""
CSS = Path(page.__file__).parent / "templates" / "report.css"


def dark() -> dict[str, str]:
    """Return what stands for each colour of paper in the dark, from the style of `report.html`."""
    _, _, rules = CSS.read_text(encoding="utf-8").partition("(prefers-color-scheme: dark)")
    named = dict(re.findall(r"--([\w-]+): (#\w+)", rules.partition("\n}\n")[0]))
    return {getattr(palette, name): named[name.lower()] for name in SHADED}


def in_both(svg: str) -> str:
    """Return a figure of matplotlib's with its colours for dark screens; no line ends in a space."""
    shades = dark()
    rules = [
        f'[style*="{use}: {light}"] {{{use}: {shade} !important}}'
        for light, shade in shades.items()
        for use in ("fill", "stroke")
        if f"{use}: {light}" in svg
    ]
    style = "\n".join(["<style>", "@media (prefers-color-scheme: dark) {", *rules, "}", "</style>"])
    lines = "\n".join(line.rstrip() for line in svg.splitlines())
    return lines.replace("</svg>", f"{style}\n</svg>") + "\n"
