"""Put what was measured into the tables of docs/reliability.md (`make fault-table`, `make chaos-table`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_suffix(".md")
ROWS = Path(__file__).with_suffix(".json")
HEAD = ["fault", "detected after", "training again after", "steps repeated", "cells lost"]
CHAOS = Path(__file__).with_name("chaos.json")
CHAOS_HEAD = ["fault", "times", "training again after, median", "at most", "steps repeated, at most"]


def table(parts: dict[str, list[dict[str, Any]]]) -> str:
    """The rows of all parts as Markdown. A part is only written when no cell of its study was lost."""
    lines = [HEAD, ["---", "---:", "---:", "---:", "---:"]]
    for rows in parts.values():
        for row in rows:
            detected = "–" if row["detected_s"] is None else f"{row['detected_s']:.1f} s"
            again = f"{row['training_again_s']:.1f} s"
            lines.append([row["fault"], detected, again, str(row["steps_repeated"]), str(row["cells_lost"])])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def chaos_table(said: dict[str, Any]) -> str:
    """What `tests/chaos/chaos.py` has measured, as Markdown."""
    lines = [CHAOS_HEAD, ["---", *["---:"] * 4]]
    for row in said["rows"]:
        again = ("–" if row[key] is None else f"{row[key]:.1f} s" for key in ("again_s", "again_max_s"))
        lines.append([row["fault"], str(row["times"]), *again, str(row["steps_repeated"])])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def chaos_summary(said: dict[str, Any]) -> str:
    """The study of the table in one sentence. It is only written when nothing was found to be wrong."""
    return (
        f"Seed {said['seed']}: {said['faults']} faults over {said['cells']} cells of {said['epochs']} "
        f"epochs, {said['drivers']} drivers, {said['attempts']} attempts, {said['minutes']:g} minutes; "
        f"{len(said['wrong'])} cells lost, doubled or changed.\n"
    )


def blocks() -> dict[str, str]:
    """What stands between `<!-- name -->` and `<!-- end -->` on the page, by name."""
    chaos = json.loads(CHAOS.read_text(encoding="utf-8"))
    return {
        "faults": table(json.loads(ROWS.read_text(encoding="utf-8"))),
        "chaos": f"{chaos_summary(chaos)}\n{chaos_table(chaos)}",
    }


def main() -> None:
    """Rewrite the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, drawn in blocks().items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        page = before + mark + drawn + rest[rest.index("<!-- end -->") :]
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
