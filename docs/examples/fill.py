"""Put the report of a finished example study into its page: the text of the terminal, and the forest plot.

python docs/examples/fill.py runs/tabular runs/charlm

A study of KEPT leaves its report here as well, with what a paper takes from it. The text goes between
`<!-- report: NAME -->` and `<!-- end -->` of the page that has such a block, the picture to
docs/images/NAME.svg; the table of README.md comes from times.json, which measure.py writes.
"""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console
from shades import in_both

from orchestrator.api.recorded import open_study
from orchestrator.reporting.terminal import render

PAGES = Path(__file__).parent
IMAGES = PAGES.parent / "images"
COLUMNS = 100
KEPT = ("generator",)
FILES = ("report.html", "methods.tex", "references.bib", "table-slim.tex")
LINKS = re.compile(rf' href="(?!#|data:|{"|".join(map(re.escape, FILES))})[^"]*"')
"""Links to what is not kept."""


def report_of(study: str) -> str:
    """What `orchestrate report` prints for the run directory `study`, as plain text."""
    console = Console(file=io.StringIO(), width=COLUMNS, color_system=None)
    built = replace(
        open_study(study, "runs").report(curves=False), location=f"runs/{Path(study).name}", is_local=False
    )
    console.print(render(built))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines())


def keep(study: str) -> None:
    """Put what a paper takes from the study beside its page."""
    open_study(study, "runs").report(write=True, for_print=False)
    target = PAGES / Path(study).name
    target.mkdir(exist_ok=True)
    for name in FILES:
        text = (Path(study) / name).read_text(encoding="utf-8")
        lines = (line.rstrip() for line in LINKS.sub("", text).splitlines())
        (target / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def fill(page: str, name: str, text: str) -> str:
    """The page with its block `name` replaced."""
    block = re.compile(rf"(<!-- report: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda match: f"{match[1]}```text\n{text}\n```\n{match[2]}", page)


def table() -> str:
    """What `measure.py` kept, as Markdown."""
    head = ["study", "wall time", "planted to hurt", "said of it", "planted to do nothing", "said of it"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for study, kept in json.loads((PAGES / "times.json").read_text(encoding="utf-8")).items():
        minutes, seconds = divmod(round(kept["wall_s"]), 60)
        cells = [study, f"{minutes}:{seconds:02d} min"]
        for role in ("hurt", "nothing"):
            arm, verdict = kept[role]
            cells += [f"`{arm}`", verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(studies: list[str]) -> None:
    """Fill the pages of all of them."""
    for study in studies:
        name = Path(study).name
        text = report_of(study)
        for page in PAGES.glob("*.md"):
            page.write_text(fill(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")
        picture = (Path(study) / "figures" / "forest.svg").read_text(encoding="utf-8")
        (IMAGES / f"{name}.svg").write_text(in_both(picture), encoding="utf-8")
        if name in KEPT:
            keep(study)
    index = PAGES / "README.md"
    page = index.read_text(encoding="utf-8")
    block = re.compile(r"(<!-- times -->\n).*?(<!-- end -->)", re.DOTALL)
    index.write_text(block.sub(lambda m: f"{m[1]}{table()}\n{m[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
