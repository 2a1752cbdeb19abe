"""The page of the benchmarks, and what programs write into it between their own marks."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def written_into(page: str, name: str, text: str) -> str:
    """Return the page with `text` between the marks of `name`; raises ValueError where they are missing."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, mark, rest = page.partition(begin)
    if not mark or end not in rest:
        raise ValueError(f"the page has no {begin.strip()} ... {end}")
    return f"{before}{mark}{text.strip()}\n{rest[rest.index(end) :]}"


def write(name: str, text: str) -> None:
    """Put it into docs/benchmarks.md."""
    PAGE.write_text(written_into(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown: the first column to the left, figures to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
