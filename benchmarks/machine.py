"""Where and when a benchmark ran, in one line."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version


def describe() -> str:
    """Cores, load, date and versions."""
    load = os.getloadavg()[0]
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "orchestrator"))
    cores = len(os.sched_getaffinity(0))
    when = time.strftime("%Y-%m-%d")
    where = f"{cores} shared cores, no GPU, load {load:.1f} at the end"
    return f"{where}, {when}, Python {platform.python_version()}, {packages}"
