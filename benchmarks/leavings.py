"""What a benchmark leaves behind: its figures, and its scratch folder when it is to be kept."""

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
