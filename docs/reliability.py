"""Put the rows of docs/reliability.json into the table of docs/reliability.md (`make fault-table`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_suffix(".md")
ROWS = Path(__file__).with_suffix(".json")
HEAD = ["fault", "detected after", "training again after", "steps repeated", "cells lost"]
BLOCK = re.compile(r"(<!-- faults -->\n).*?(<!-- end -->)", re.DOTALL)


def table(parts: dict[str, list[dict[str, Any]]]) -> str:
    """The rows of all parts as Markdown. A part is only written when no cell of its study was lost."""
    lines = [HEAD, ["---", "---:", "---:", "---:", "---:"]]
    for rows in parts.values():
        for row in rows:
            detected = "–" if row["detected_s"] is None else f"{row['detected_s']:.1f} s"
            again = f"{row['training_again_s']:.1f} s"
            lines.append([row["fault"], detected, again, str(row["steps_repeated"]), str(row["cells_lost"])])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Rewrite the page."""
    drawn = table(json.loads(ROWS.read_text(encoding="utf-8")))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda block: f"{block[1]}{drawn}{block[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
