"""What a logger has to do: one that writes files beside the trial's, or one that talks to a service.

    TrialLog ─┬─> FileLogger, in the worker (TensorBoard)
              └─> Trackers ──lines of JSON──> a process beside the worker ──> ServiceLogger (wandb, MLflow)

A study lists loggers by their names (`study.names`, where they are registered).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from orchestrator.record.storage import Storage


class Logger(ABC):
    """One attempt's curves at one place."""

    needs: ClassVar[str | None] = None
    """The module that has to be installed for it."""

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int, time_s: float) -> None:
        """Values of one step; `time_s` is the time of day."""


class FileLogger(Logger):
    """Files below `folder` on the storage, for instance by `storage.appender`; called by one thread.

    It runs in the worker: it must not patch modules, start threads or wait for a network. A later `attempt`
    has files of its own, and hides what earlier ones have from `purge_step` on.
    """

    @abstractmethod
    def __init__(self, storage: Storage, folder: str, attempt: int, purge_step: int = 0) -> None: ...

    @abstractmethod
    def write(self) -> None:
        """Hand what was collected to the file; called about once a second."""

    @abstractmethod
    def sync(self) -> None:
        """Return once everything so far is durable."""

    @abstractmethod
    def close(self) -> None:
        """Sync and let go."""

    def text(self, tag: str, value: str, step: int, time_s: float) -> None:
        """Markdown text."""

    def image(self, tag: str, value: Any, step: int, time_s: float) -> None:
        """Write a picture: [H, W, 1 | 3 | 4] uint8, or a function that draws it."""

    def histogram(self, tag: str, value: Any, step: int, time_s: float) -> None:
        """Write the distribution of numbers, [N]."""

    def pr_curve(self, tag: str, value: Mapping[str, Any], step: int, time_s: float) -> None:
        """Write a PR curve: counts `tp`, `fp`, `tn`, `fn` at rising thresholds, [T ≤ 127] each."""

    def began(self, config: Mapping[str, Any], metrics: Sequence[str], time_s: float) -> None:
        """Write the trial's config, and the names of the metrics that it will end with."""

    def ended(self, finals: Mapping[str, float], step: int, success: bool, time_s: float) -> None:
        """Write the metrics that it ended with."""


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

    def tags(self) -> dict[str, str]:
        """Return what runs are grouped and filtered by."""
        return {"study": self.study, "arm": self.arm, "seed": str(self.seed)}


class ServiceLogger(Logger):
    """One run at one service, in a process beside the worker: it may import, patch and wait as it likes.

    Names and values that `scalars` raises on are tried one by one, and renamed or left out with a line in the
    trial's log. A service that takes nothing, or fails elsewhere, gets no more of the trial but `close`.
    """

    remarks: Sequence[str] = ()
    """What the service did not take as it was given, for the trial's log."""

    @abstractmethod
    def __init__(self, trial: TrackedTrial) -> None: ...

    @abstractmethod
    def close(self, state: str, finals: Mapping[str, float]) -> None:
        """End the attempt: `state` as in results.parquet, or `interrupted` when the worker went away."""
