"""Where and when a benchmark ran, in one line."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version

LOAD_BEFORE = os.getloadavg()[0]
"""What others did on this machine when the benchmark began (mean of a minute)."""


def describe() -> str:
    """Cores, GPUs, load, date and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "orchestrator"))
    import torch  # late: what only asks for help does not wait for it

    cores = len(os.sched_getaffinity(0))
    cards = [torch.cuda.get_device_name(card) for card in range(torch.cuda.device_count())]
    when = time.strftime("%Y-%m-%d")
    where = f"{cores} cores, {', '.join(cards) or 'no GPU'}, load {LOAD_BEFORE:.1f} before"
    return f"{where}, {when}, Python {platform.python_version()}, {packages}"
