"""Where the measured rows of the fault table go: the file that FAULT_ROWS names, if it is set."""

from __future__ import annotations

import json
import os
from pathlib import Path

from strikes import Story


def write_rows(part: str, story: Story) -> None:
    """Put the rows of one part of the table into the file, once its study has come to a good end."""
    name = os.environ.get("FAULT_ROWS")
    if not name or story.cells_lost is None:
        return
    path = Path(name)
    table = json.loads(path.read_text()) if path.exists() else {}
    table[part] = [{**row.as_json(), "cells_lost": story.cells_lost} for row in story.rows]
    path.write_text(json.dumps(table, indent=1) + "\n")
