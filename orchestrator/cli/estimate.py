"""What a study would take: lanes on this machine; time and disk from runs that have finished."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.decide.states import TrialState

if TYPE_CHECKING:
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.state import StudyState
    from orchestrator.record.storage import Storage
    from orchestrator.study.spec import ResourcesSpec

_GPU_DEVICES = "nvidia[0-9]*"


@dataclass(frozen=True)
class Machine:
    """What this machine has for trials."""

    cpus: int
    gpus: int

    @classmethod
    def here(cls) -> Machine:
        """Counted without torch and ray: the CPUs this process may use, the GPU devices that are visible."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        found = len(list(Path("/dev").glob(_GPU_DEVICES)))
        chosen = found if visible is None else len([name for name in visible.split(",") if name.strip()])
        return cls(cpus=len(os.sched_getaffinity(0)), gpus=min(found, chosen))


@dataclass(frozen=True)
class Estimate:
    """What is left to do. `None` where nothing recorded tells; `wall_s` is training time over the lanes."""

    runs: int
    wall_s: float | None
    gpu_h: float | None
    disk_bytes: int | None


def lanes(resources: ResourcesSpec, machine: Machine, cells: int) -> int:
    """Trials at the same time on this machine: at most one per cell; 0 when not even one fits."""
    gpus = resources.gpus_per_worker
    share = (1.0 if machine.gpus else 0.0) if gpus == "auto" else float(gpus)
    limits = [machine.cpus / resources.cpus_per_worker] + ([machine.gpus / share] if share else [])
    fit = math.floor(min(limits) + 1e-9) // resources.workers
    most = fit if resources.max_parallel == "auto" else min(fit, resources.max_parallel)
    return min(most, cells)


@dataclass(frozen=True)
class RunCost:
    """What one run to full length takes, on average."""

    wall_s: float
    gpu_s: float
    disk_bytes: int


def cost_of(storage: Storage, paths: StudyPaths, history: StudyState, scale: float = 1.0) -> RunCost | None:
    """Averaged over the finished runs of a study; None when it has none.

    Args:
        scale: full length of the runs that are asked about, over that of the study's.
    """
    finished = [record for record in history.cells.values() if record.state is TrialState.DONE]
    if not finished:
        return None
    one = finished[0]
    folder = paths.trial_dir(one.arm, one.seed, one.sample, one.phase)
    return RunCost(
        wall_s=scale * sum(record.wall_s for record in finished) / len(finished),
        gpu_s=scale * sum(record.gpu_s for record in finished) / len(finished),
        disk_bytes=sum(storage.sizes(folder).values()),
    )


def estimate(runs: int, lane_count: int, cost: RunCost | None) -> Estimate:
    """What `runs` take on so many lanes, when it is known what one takes."""
    if cost is None:
        return Estimate(runs, None, None, None)
    return Estimate(
        runs=runs,
        wall_s=math.ceil(runs / lane_count) * cost.wall_s if lane_count else None,
        gpu_h=runs * cost.gpu_s / 3600,
        disk_bytes=runs * cost.disk_bytes,
    )
