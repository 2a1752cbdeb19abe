"""A chart as a part of a page: its SVG with the page's colours, tooltips and links, without a script."""

from __future__ import annotations

import re
from urllib.parse import quote
from xml.etree import ElementTree

from orchestrator.reporting import palette
from orchestrator.reporting.figures import Drawn

_COLOURS = {
    getattr(palette, name): f"var(--{name.lower()})"
    for name in ("INK", "QUIET", "AXIS", "GRID", "FAINT", "CARD")
}
_COLOUR = re.compile("|".join(_COLOURS))
_LEAST = 0.85  # of its own size: a narrower page scrolls, as text would be too small to read
_PX_PER_PT = 4 / 3


def inline(chart: Drawn) -> str:
    """Return the chart's SVG for a page of HTML; its ids begin with the chart's name."""
    root = ElementTree.fromstring(chart.files["svg"])  # noqa: S314 - drawn by us
    for unwanted in ("metadata", "style"):  # styles would hold for the page
        for parent in root.iter():
            for child in parent.findall(f"{{*}}{unwanted}"):
                parent.remove(child)
    text = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"#([\w-]+)", text))
    for element in list(root.iter()):
        _adopt(element, chart.name, used, chart)
    width = float(root.get("viewBox", "").split()[2]) * _PX_PER_PT
    size = f"width: 100%; max-width: {width:.0f}px; min-width: {width * _LEAST:.0f}px"
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "role": "group",
        "aria-label": chart.title,
        "style": size,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _adopt(element: ElementTree.Element, prefix: str, used: set[str], chart: Drawn) -> None:
    """Let an element of a drawing be one of the page: HTML knows no namespaces and no second use of an id."""
    element.tag = element.tag.rpartition("}")[2]
    own = element.attrib.pop("id", "")
    given = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    for name, value in given.items():
        if name == "style":
            value = _COLOUR.sub(lambda found: _COLOURS[found[0]], value)
        elif name in ("d", "x", "y"):
            value = re.sub(r"(\.\d\d)\d+", r"\1", value)
        given[name] = re.sub(r"(^|url\()#", rf"\g<1>#{prefix}-", value)
    element.attrib = given | ({"id": f"{prefix}-{own}"} if own in used else {})
    said = chart.marks.get(own, ())
    places = [(parent, child) for parent in element.iter() for child in parent if child.tag.endswith("}use")]
    if len(said) == 1:
        _tell(element, *said[0])
    elif len(said) == len(places):  # fewer are drawn where a point lies too far out
        for (parent, child), one in zip(places, said, strict=True):
            place = ElementTree.Element("g")
            parent[list(parent).index(child)] = place
            place.append(child)
            _tell(place, *one)


def _tell(element: ElementTree.Element, text: str, folder: str) -> None:
    """Give an element a tooltip, and a link; that stays out of the tab order, as the tables have the same."""
    title = ElementTree.Element("title")
    title.text = "".join(c for c in text if c.isprintable() or c == "\n")
    element.insert(0, title)
    if folder:
        element.tag = "a"
        element.attrib |= {"href": quote(folder), "tabindex": "-1"}
