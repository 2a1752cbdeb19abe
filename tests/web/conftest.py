"""Makes `tensorboard_tabs`, and `workbench` of the engine's tests, importable from the tests beside it."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "engine"):
    sys.path.insert(0, str(folder))
