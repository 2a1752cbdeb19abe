"""`references.bib`: what a report cites, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.reporting.latex import tex
from orchestrator.study.methods import Publication

_MINUS = tex("−")


def to_bibtex(publications: Iterable[Publication]) -> str:
    """Return the entries; titles keep their capitals."""
    return "\n".join(map(_entry, publications))


def in_words(one: Publication) -> str:
    """Return a line of a list of references: `Holm, Sture (1979): A Simple ... Scandinavian ... 6(2), "
    "65–70`."""
    known = one.fields
    authors = known["author"].strip("{}").replace(" and ", "; ")
    year = f" ({known['year']})" if "year" in known else ""
    number = f"({known['number']})" if "number" in known else ""
    volume = f" {known['volume']}{number}" if "volume" in known else ""
    pages = f", {known['pages'].replace('--', '–')}" if "pages" in known else ""
    venue = next((known[name] for name in ("journal", "booktitle", "publisher") if name in known), "")
    venue = f"arXiv {known['eprint']}" if "eprint" in known else f"{venue}{volume}{pages}"
    version = f"version {known['version']}" if "version" in known else ""
    where = ", ".join(filter(None, [venue, version, known.get("url", "")]))
    return f"{authors}{year}: {known['title']}{f'. {where}' if where else ''}"


def _entry(one: Publication) -> str:
    lines = [f"  {name} = {{{_value(name, text)}}}" for name, text in one.fields.items()]
    return f"@{one.kind}{{{one.key},\n" + ",\n".join(lines) + "\n}\n"


def _value(name: str, text: str) -> str:
    if name in ("url", "eprint", "doi"):
        return text
    whole = re.fullmatch(r"\{(.*)\}", text)  # an author that is no person
    found = f"{{{_set(whole[1])}}}" if whole else _set(text)
    return f"{{{found}}}" if name == "title" else found


def _set(text: str) -> str:
    """Return text for LaTeX, with powers as such."""
    return re.sub(
        r"(\w)\\textasciicircum\{\}\(([^)]*)\)",
        lambda power: f"${power[1]}^{{{power[2].replace(_MINUS, '-')}}}$",
        tex(text),
    )
