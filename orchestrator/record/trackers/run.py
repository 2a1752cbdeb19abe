"""What a tracker is told of a trial, and what it has to do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedTrial:
    """One trial, for all its attempts: they continue the run with the same `run_id`."""

    run_id: str
    study: str
    name: str
    """For people: `no-mixup seed 2`."""
    arm: str
    seed: int
    config: Mapping[str, Any]
    folder: str
    """Local directory for what is kept offline: the study's, where the storage is local."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; `TrackedTrial(**data)` reads it back."""
        return asdict(self)

    def tags(self) -> dict[str, str]:
        """What runs are grouped and filtered by."""
        return {"study": self.study, "arm": self.arm, "seed": str(self.seed)}


class Tracker(Protocol):
    """One run at one service. Any exception ends it, with a warning in the trial's log."""

    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Values of one step; `time_s` is the time of day."""
        ...

    def close(self, state: str, finals: Mapping[str, float]) -> None:
        """The attempt is over: `state` as in results.parquet, or `interrupted` when the worker went away."""
        ...


def run_id(cell: str, study_root: str, began: float) -> str:
    """The same for every attempt at a cell; another one when the study is begun anew (`--fresh`).

    Args:
        cell: identity of the cell.
        study_root: where the study is kept.
        began: time of the first line of its journal.
    """
    instance = hashlib.sha256(f"{study_root}\n{began!r}".encode()).hexdigest()[:8]
    return f"{cell}-{instance}"
