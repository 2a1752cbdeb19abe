"""A checkpoint's files: tensors and plain values only, read back with `weights_only=True`.

state.pt      rank 0: model, optimiser, scaler, position
rank-<r>.pt   every rank: its random states
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.training.streams import random_state, set_random_state

VERSION = 1


@dataclass
class Position:
    """Where a trial stands. The order of an epoch follows from the seed: the step says it all."""

    step: int = 0
    """Optimiser steps done."""
    reports: int = 0
    """Reports made."""
    elapsed_s: float = 0.0
    """Training seconds over all attempts."""


def save(state: dict[str, Any], position: Position, rank: int) -> Path:
    """Write this rank's part into a fresh directory, which the caller owns."""
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-"))
    if rank == 0:
        torch.save({"version": VERSION, "position": asdict(position), **state}, folder / "state.pt")
    torch.save(random_state(), folder / f"rank-{rank}.pt")
    return folder


def load(folder: Path) -> tuple[dict[str, Any], Position]:
    """What `save` wrote on rank 0.

    Raises:
        ValueError: the checkpoint was written by another version of the loop.
    """
    state: dict[str, Any] = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    if state.get("version") != VERSION:
        raise ValueError(f"checkpoint of version {state.get('version')!r}; this version reads {VERSION}")
    return state, Position(**state["position"])


def load_random_state(folder: Path, rank: int) -> None:
    """Put this rank's global generators back to where they were."""
    set_random_state(torch.load(folder / f"rank-{rank}.pt", map_location="cpu", weights_only=True))
