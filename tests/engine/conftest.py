"""Makes the modules and entrypoints beside the tests importable from them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "entrypoints")]
