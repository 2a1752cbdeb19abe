"""What a benchmark leaves behind: its figures, its table, and its scratch folder when it is to be kept."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import describe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


@contextmanager
def scratch_folder(keep: bool) -> Iterator[Path]:
    """A folder for the studies of a benchmark; removed at the end unless `keep`."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def save(path: Path | None, **figures: Any) -> None:
    """Write the figures with the machine that they come from; None: nowhere."""
    if path is not None:
        path.write_text(json.dumps({"machine": describe(), **figures}, indent=1) + "\n")


def write_into_page(mark: str, text: str) -> None:
    """Put a table between its marks on the page of the benchmarks."""
    PAGE.write_text(written_into(PAGE.read_text(encoding="utf-8"), mark, text), encoding="utf-8")


def written_into(page: str, mark: str, text: str) -> str:
    """The page with the text between its marks; raises ValueError where they are missing."""
    begin, end = f"<!-- {mark} -->\n", "<!-- end -->"
    before, found, rest = page.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"the page has no {begin.strip()} ... {end}")
    return f"{before}{begin}{text}{rest[rest.index(end) :]}"
