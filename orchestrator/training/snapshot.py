"""A checkpoint's files: tensors and plain values only, read back with `weights_only=True`.

state.pt      rank 0: model, optimizer, scaler, position
rank-<r>.pt   every rank: its random states
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
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
    """Optimizer steps done."""
    reports: int = 0
    """Reports made."""
    elapsed_s: float = 0.0
    """Training seconds over all attempts."""
    best: float | None = None
    """Of the study's metric, where the trial ends for want of patience; with the report that it came with."""
    best_report: int = 0


class TrainingSnapshot:
    """This rank's part of a checkpoint as copies, which the next step cannot change.

    Copying takes a tenth of what writing takes: training goes on while `write` is called from another thread.
    """

    def __init__(self, files: Mapping[str, Any]) -> None:
        seen: dict[Any, torch.Tensor] = {}
        self._files = {name: _copied(state, seen) for name, state in files.items()}

    def write(self, folder: Path) -> None:
        """Write the files into a directory that exists."""
        for name, state in self._files.items():
            with (folder / name).open("wb") as sink:  # a file of Python's: it says why it cannot be written
                torch.save(state, sink)


def take(state: dict[str, Any], position: Position, rank: int) -> TrainingSnapshot:
    """Copy this rank's part: everything on rank 0, its random states on the others."""
    files: dict[str, Any] = {f"rank-{rank}.pt": random_state()}
    if rank == 0:
        files["state.pt"] = {"version": VERSION, "position": asdict(position), **state}
    return TrainingSnapshot(files)


def _copied(value: Any, seen: dict[Any, torch.Tensor]) -> Any:
    """Return the same structure with copies of its tensors in the host's memory; tied ones stay tied."""
    if isinstance(value, torch.Tensor):
        key = (value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else id(value)
        if key not in seen:
            copy = torch.empty_like(value, device="cpu", memory_format=torch.preserve_format)
            seen[key] = copy.copy_(value.detach())
        return seen[key]
    if isinstance(value, Mapping):
        items = {key: _copied(item, seen) for key, item in value.items()}
        if not hasattr(value, "_metadata"):
            return items
        copied = OrderedDict(items)
        # the modules' versions, as torch keeps them
        copied._metadata = value._metadata  # type: ignore[attr-defined]
        return copied
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item, seen) for item in value)
    return value


def load(folder: Path) -> tuple[dict[str, Any], Position]:
    """Return what `TrainingSnapshot.write` wrote on rank 0.

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
