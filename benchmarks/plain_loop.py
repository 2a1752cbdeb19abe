"""The trials one after the other in this process, on one thread, without Ray. Started by `turnaround.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from stamped import train


def main(cells_file: str, stamps: str) -> None:
    """`cells_file`: [{"trial", "config"}, ...]; `stamps`: where the times go."""
    torch.set_num_threads(1)
    cache: dict[str, Any] = {}
    for cell in json.loads(Path(cells_file).read_text()):
        train(cell["config"], Path(stamps), cell["trial"], cache)


if __name__ == "__main__":
    main(*sys.argv[1:])
