"""What a command sees in its environment: a plain program's, or that of one rank of several."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_OF_RANKS = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"),
    *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME"),
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS"),
    "ACCELERATE_TORCH_DEVICE",
)
_OF_A_WORKER = ("PYTHONBREAKPOINT", "RAY_")
"""What Ray sets for its own workers; a prefix where it ends in `_`."""


@dataclass(frozen=True)
class Seat:
    """What a rank says of itself, for the others to find each other: its machine, and a port that is free."""

    host: str
    address: str
    port: int
    local_rank: int
    """Of the worker, where something has set it, else -1."""


def seat() -> Seat:
    """Return this process's."""
    own = os.environ.get("LOCAL_RANK", "") if os.environ.get("WORLD_SIZE", "1") != "1" else ""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    address = os.environ.get("MASTER_ADDR") or "127.0.0.1"  # of rank 0 it is its own
    return Seat(socket.gethostname(), address, port, int(own) if own.isdigit() else -1)


def rank_variables(seats: Mapping[int, Seat], rank: int, run_id: str) -> dict[str, str]:
    """Return what torchrun sets for one process of several, `seats` by rank."""
    hosts: dict[str, list[int]] = {}
    for other in sorted(seats):
        hosts.setdefault(seats[other].host, []).append(other)
    node = list(hosts).index(seats[rank].host)
    beside = hosts[seats[rank].host]
    local = seats[rank].local_rank if seats[rank].local_rank >= 0 else beside.index(rank)
    size = str(len(seats))
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": str(len(beside)),
        "NODE_RANK": str(node),
        "GROUP_RANK": str(node),
        "GROUP_WORLD_SIZE": str(len(hosts)),
        "ROLE_RANK": str(rank),
        "ROLE_WORLD_SIZE": size,
        "ROLE_NAME": "default",
        "MASTER_ADDR": seats[0].address,
        "MASTER_PORT": str(seats[0].port),
        "TORCHELASTIC_RUN_ID": run_id,
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
    }


def environment(ours: Mapping[str, str | Path], ranks: Mapping[str, str]) -> dict[str, str]:
    """Return a command's environment: this worker's without what makes it a worker, and what is added."""
    kept = {name: value for name, value in os.environ.items() if not _of_worker(name)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept.setdefault("PYTHONUNBUFFERED", "1")  # its lines are read as it prints them
    return {**kept, "PATH": path, **ranks, **{name: str(value) for name, value in ours.items()}}


def _of_worker(name: str) -> bool:
    return name in _OF_RANKS or any(
        name.startswith(one) if one.endswith("_") else name == one for one in _OF_A_WORKER
    )
