"""What Ray finds on this machine, and how one that is started here is kept to a part of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

OVERRIDE = "RAY_OVERRIDE_RESOURCES"
"""Resources by name, as JSON; Ray believes them before anything that it finds or is told."""


@dataclass(frozen=True)
class FoundHere:
    """CPUs, and GPUs: `gpus` as the variable `visible` names them, `ids` by what tells them apart."""

    cpus: int
    gpus: tuple[str, ...]
    ids: tuple[str, ...]
    visible: str


def found_here() -> FoundHere:
    """Return what `ray.init(address="local")` would have."""
    from ray._private.accelerators import get_accelerator_manager_for_resource
    from ray._private.utils import get_num_cpus

    said = _said()
    manager = get_accelerator_manager_for_resource("GPU")
    chosen = manager.get_current_process_visible_accelerator_ids()
    number = int(said.get("GPU", manager.get_current_node_num_accelerators()))
    names = [str(index) for index in range(number)] if chosen is None else chosen[:number]
    uuids = _uuids() if names else []
    variable = manager.get_visible_accelerator_ids_env_var()
    return FoundHere(
        int(said.get("CPU") or get_num_cpus()),
        tuple(names),
        tuple(_id(name, uuids) for name in names),
        variable,
    )


def confined(found: FoundHere, gpus: Sequence[str]) -> dict[str, str | None]:
    """Return variables under which a Ray takes these GPUs for all that there are, and CPUs as it is told."""
    left = {name: amount for name, amount in _said().items() if name not in ("CPU", "GPU")}
    return {OVERRIDE: json.dumps(left) if left else None, found.visible: ",".join(gpus)}


def begin_node(cpus: int, gpus: int, variables: Mapping[str, str]) -> Callable[[], None]:
    """Let the Ray that was started here have so much more of this machine, as a second node; returns its end.

    A Ray cannot be told other resources later. The node ends with the thread that calls this, at the latest.
    """
    import ray
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    from orchestrator.engine.ray_private.head import embedded_ray

    with embedded_ray():
        node = Node(
            RayParams(
                gcs_address=ray.get_runtime_context().gcs_address,
                num_cpus=cpus,
                num_gpus=gpus,
                env_vars=dict(variables),
                include_log_monitor=False,
                node_manager_port=0,
                min_worker_port=0,
                max_worker_port=0,
                dashboard_agent_listen_port=None,
            ),
            head=False,
            shutdown_at_exit=False,
        )
    return partial(node.kill_all_processes, check_alive=False, allow_graceful=True, wait=True)


def _said() -> dict[str, float]:
    with suppress(ValueError):
        said = json.loads(os.environ.get(OVERRIDE) or "{}")
        if isinstance(said, dict):
            return said
    return {}  # Ray says itself what is wrong


def _uuids() -> list[str]:
    from ray._private.thirdparty.pynvml import (
        NVMLError,
        nvmlDeviceGetCount,
        nvmlDeviceGetHandleByIndex,
        nvmlDeviceGetUUID,
        nvmlInit,
        nvmlShutdown,
    )

    try:
        nvmlInit()
    except NVMLError:
        return []
    try:
        found = [nvmlDeviceGetUUID(nvmlDeviceGetHandleByIndex(n)) for n in range(nvmlDeviceGetCount())]
        return [uuid.decode() if isinstance(uuid, bytes) else str(uuid) for uuid in found]
    except NVMLError:
        return []
    finally:
        nvmlShutdown()


def _id(name: str, uuids: list[str]) -> str:
    """Return the UUID of a GPU that is named by its number, or by the beginning of it."""
    if name.isdecimal():
        return uuids[int(name)] if int(name) < len(uuids) else name
    return next((uuid for uuid in uuids if uuid.startswith(name)), name)
