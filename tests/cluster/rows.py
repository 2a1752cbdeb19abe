"""Where the measured rows of the fault table go: the file that FAULT_ROWS names, if it is set."""

from __future__ import annotations

import json
import os
from pathlib import Path

from faults import Row


def write_rows(part: str, rows: list[Row]) -> None:
    """Put the rows of one part of the table into the file, beside those of the other parts."""
    name = os.environ.get("FAULT_ROWS")
    if not name:
        return
    path = Path(name)
    table = json.loads(path.read_text()) if path.exists() else {}
    table[part] = [row.as_json() for row in rows]
    path.write_text(json.dumps(table, indent=1) + "\n")
