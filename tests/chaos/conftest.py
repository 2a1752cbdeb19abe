"""Makes the modules here and the engine's `workbench` importable from the tests here."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "engine"):
    sys.path.insert(0, str(folder))
