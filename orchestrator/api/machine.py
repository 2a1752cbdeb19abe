"""What this machine has for trials, and how many of a study fit on it. Imports little."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.study.spec import ResourcesSpec

_GPU_DEVICES = "nvidia[0-9]*"


@dataclass(frozen=True)
class Machine:
    """What this machine has for trials."""

    cpus: int
    gpus: int

    @classmethod
    def here(cls) -> Machine:
        """Return counted without torch and ray: the CPUs this process may use, the GPU devices that are
        visible.
        """
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = len(list(Path("/dev").glob(_GPU_DEVICES)))
        chosen = found if visible is None else len([name for name in visible.split(",") if name.strip()])
        return cls(cpus=len(os.sched_getaffinity(0)), gpus=min(found, chosen))


def slots(resources: ResourcesSpec, machine: Machine, cells: int) -> int:
    """Trials at the same time on this machine: at most one per cell; 0 when not even one fits."""
    gpus = resources.gpus_per_worker
    share = (1.0 if machine.gpus else 0.0) if gpus == "auto" else float(gpus)
    limits = [machine.cpus / resources.cpus_per_worker] + ([machine.gpus / share] if share else [])
    fit = math.floor(min(limits) + 1e-9) // resources.workers
    most = fit if resources.max_parallel == "auto" else min(fit, resources.max_parallel)
    return min(most, cells)
