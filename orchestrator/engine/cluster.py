"""The connection to Ray: embedded by default, or a running cluster by its address."""

from __future__ import annotations

import logging
import math
import os
import socket
import warnings
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.engine.ray_private.head import EMBEDDED, LANE_ENVIRONMENT, embedded_ray, keep_ray_off_stdout
from orchestrator.errors import ClusterUnavailable
from orchestrator.study.spec import ResourcesSpec

# Read by Ray when it starts. Tune's own loggers and its Ctrl-C handling are ours.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # the searcher hands out no more than the lanes can hold
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


KNOCK_TIMEOUT_S = 5.0
DATASETS_CPUS = 1.0
"""CPUs of every node that stay free for the tasks of Ray Data in a study with `datasets`."""


@dataclass(frozen=True)
class Capacity:
    """What the cluster offers now."""

    cpus: float
    gpus: float
    nodes: int
    slots: int  # workers of the study's size that fit, node by node


def connect(address: str | None) -> None:
    """Start Ray in this process, or connect to a running cluster.

    Raises:
        ClusterUnavailable: no cluster answers at `address`.
    """
    if address is not None:
        _knock(address)
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    options: dict[str, Any] = {
        "namespace": f"orchestrator-{os.getpid()}",
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": True,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address is None:
                os.environ.update(LANE_ENVIRONMENT, **{EMBEDDED: "1"})
                with embedded_ray():
                    ray.init(address="local", include_dashboard=False, **options)
            else:
                os.environ.pop(EMBEDDED, None)
                ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        what = f"no Ray cluster answers at {address}" if address else "Ray could not start on this machine"
        raise ClusterUnavailable(f"{what}: {error}. `orchestrate doctor` shows what is missing.") from error
    keep_ray_off_stdout()
    _quiet()


def _knock(address: str) -> None:
    """Ray itself tries for minutes and prints a page; a port that nobody listens on is known at once."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "auto", or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterUnavailable(
            f"no Ray cluster answers at {address}: {error.strerror or error}. Is the head up, and is this "
            "its GCS address (host:port, 6379 unless told otherwise)?"
        ) from error


def _quiet() -> None:
    """The terminal is ours: Ray's own loggers speak only when something is wrong."""
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


def gpus_per_worker(resources: ResourcesSpec) -> float:
    """The setting, with `auto` read as one GPU per worker where the cluster has any."""
    if resources.gpus_per_worker == "auto":
        return 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
    return float(resources.gpus_per_worker)


def capacity(cpus_per_worker: float, gpus: float, kept_cpus: float = 0.0) -> Capacity:
    """Count the workers that fit on the nodes that are alive; `kept_cpus` of each node stay free."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = 0
    for node in alive:
        cpus = max(0.0, node.get("CPU", 0.0) - kept_cpus)
        limits = [cpus / cpus_per_worker] if cpus_per_worker else []
        limits += [node.get("GPU", 0.0) / gpus] if gpus else []
        slots += math.floor(min(limits) + 1e-9) if limits else 0
    return Capacity(
        cpus=sum(node.get("CPU", 0.0) for node in alive),
        gpus=sum(node.get("GPU", 0.0) for node in alive),
        nodes=len(alive),
        slots=slots,
    )


def lanes(resources: ResourcesSpec, offered: Capacity) -> int:
    """How many worker groups fit: capacity over the group's size, at most `max_parallel`."""
    fit = offered.slots // resources.workers
    return fit if resources.max_parallel == "auto" else min(fit, resources.max_parallel)
