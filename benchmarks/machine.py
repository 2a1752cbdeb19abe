"""Where and when a benchmark ran, in one line."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version

LOAD_BEFORE = os.getloadavg()[0]
"""What others did on this machine when the benchmark began (mean of a minute)."""


def describe() -> str:
    """Cores, load, date and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "orchestrator"))
    cores = len(os.sched_getaffinity(0))
    when = time.strftime("%Y-%m-%d")
    where = f"{cores} shared cores, no GPU, load {LOAD_BEFORE:.1f} before"
    return f"{where}, {when}, Python {platform.python_version()}, {packages}"
