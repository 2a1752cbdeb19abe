"""One attempt at a cell on one worker, until it is known how it ended. Knows neither Ray nor torch.

How the user's code is found and called is handed in; what goes wrong around it is no fault of the user's.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.attempts._link import LineDown, Link, WorkerKilled
from orchestrator.engine.attempts._trial_run import TrialRun
from orchestrator.engine.attempts._uploads import UploadFailed
from orchestrator.engine.messages import Assignment, Outcome, RunFacts
from orchestrator.errors import StorageUnavailable
from orchestrator.record.attempts import Superseded
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.layout import TrialPaths
from orchestrator.record.storagefaults import StorageFaultKind, classify, free_bytes, size
from orchestrator.record.trackers.process import Trackers
from orchestrator.training.session import Diverged, TrialStopped

log = logging.getLogger(__name__)

# Texts by which gloo and NCCL say that a peer went away.
BROKEN_COLLECTIVE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "gloo",
    "NCCL",
    "ProcessGroup",
    "TCPStore",
)

# What a disk says of itself. Who may not read a file, or finds no server, has written a wrong name.
DISK_FAULTS = (StorageFaultKind.DISK_FULL, StorageFaultKind.READ_ONLY, StorageFaultKind.IO_ERROR)

UserCode = Callable[[TrialRun], None]
"""Calls the user's code for a trial."""


@dataclass(frozen=True)
class Rank:
    """One worker's place in its group.

    `same`: rank 0's value, on every rank; `load`: imports the user's code, or raises whatever it raises.
    """

    rank: int
    world_size: int
    same: Callable[[Any], Any]
    load: Callable[[], UserCode]


def run_attempt(
    facts: RunFacts, assignment: Assignment, link: Link, place: Rank, trackers: Trackers | None = None
) -> Outcome:
    """Run a trial on one rank and say how it ended; what the user's code raised is in the outcome.

    `place`: this worker, and how it comes to the user's code; `trackers`: those of this worker.
    """
    try:
        outcome = _attempt(_open(facts, assignment, link, place, trackers), place)
    except Superseded as error:
        outcome = Outcome(TrialState.CANCELLED, reason=str(error), error=f"{error}\n")
    except (UploadFailed, StorageUnavailable, LineDown, OSError) as error:
        ours = isinstance(error, (UploadFailed, StorageUnavailable))  # their texts say it all
        message = str(error) if ours else f"{type(error).__name__}: {error}"
        trace = traceback.format_exc(limit=-20)
        outcome = Outcome(TrialState.FAILED, Cause.INFRA, message, trace, fault=_storage_fault(error))
    if outcome.error:
        sys.stderr.write(outcome.error)
    return outcome


def _open(
    facts: RunFacts, assignment: Assignment, link: Link, place: Rank, trackers: Trackers | None
) -> TrialRun:
    store = CheckpointStore(facts.storage, TrialPaths(assignment.trial_dir))
    resume: Manifest | None = place.same(store.latest() if place.rank == 0 else None)
    for what in store.warnings:
        log.warning("a checkpoint cannot be used: %s", what)
    passed_over = tuple(store.warnings)
    return TrialRun(facts, assignment, link, place.rank, place.world_size, resume, trackers, passed_over)


def _attempt(run: TrialRun, place: Rank) -> Outcome:
    try:
        user_code = place.load()
    except BaseException as error:
        message = "".join(traceback.format_exception_only(error)).strip()
        run.link.entrypoint_failed(f"{run.spec.entrypoint}: {message}")
        # the study stops; the cell has not had its try
        return Outcome(TrialState.CANCELLED, reason=message, error=traceback.format_exc(limit=-20))
    run.open()
    outcome = Outcome(TrialState.FAILED, Cause.INFRA, "the trial did not end")
    try:
        outcome = _call(user_code, run)
    finally:
        run.close(outcome.state)
    return outcome


def _call(user_code: UserCode, run: TrialRun) -> Outcome:
    """Run the user's code and say how it ended."""
    spec = run.spec
    try:
        user_code(run)
    except WorkerKilled:
        raise
    except TrialStopped:
        return run.outcome()
    except BaseException as error:
        return _failure(error, run)
    if run.answer.stop:
        return run.outcome()
    if run.length < spec.stopping.max and not spec.allow_short:
        reason = (
            f"the entrypoint returned at {run.length:g} of {spec.stopping.max:g} {spec.stopping.unit}s; "
            "train up to config['max_length'], or set allow_short: true"
        )
        return run.ended(TrialState.FAILED, Cause.SHORT, reason)
    if run.value is None:
        reason = f"the trial never reported {spec.metric.name!r}; metric.name must be a key that it reports"
        return run.ended(TrialState.FAILED, Cause.USER, reason)
    return run.outcome()


def _failure(error: BaseException, run: TrialRun) -> Outcome:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-20))
    message = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, Diverged):
        return run.ended(TrialState.DIVERGED, None, message, text)
    cause, fault, disk, secondary = Cause.USER, None, classify(error), False
    if isinstance(error, MemoryError) or _of_torch(error, "OutOfMemoryError"):
        cause = Cause.OOM
    elif isinstance(error, UploadFailed):
        cause, fault = Cause.INFRA, _storage_fault(error)
    elif disk is not None and disk.kind in DISK_FAULTS:
        cause, fault = Cause.INFRA, _storage_fault(error)
        message = f"{disk.kind} on {socket.gethostname()}: {message}; {free_space()}"
    elif run.world_size > 1:
        collective = isinstance(error, RuntimeError) and any(mark in message for mark in BROKEN_COLLECTIVE)
        secondary = collective or _of_torch(error, "DistError")
    return replace(run.ended(TrialState.FAILED, cause, message, text), secondary=secondary, fault=fault)


def _of_torch(error: BaseException, name: str) -> bool:
    """Whether it is torch's error of this name, asked without importing torch."""
    return any(kind.__name__ == name and kind.__module__.startswith("torch") for kind in type(error).__mro__)


def _storage_fault(error: BaseException) -> FaultKind | None:
    """Whether a disk is full or the storage fails; None for what has nothing to do with either."""
    found = classify(error)
    if found is None:
        return None
    return FaultKind.DISK_FULL if found.kind is StorageFaultKind.DISK_FULL else FaultKind.STORAGE


def free_space() -> str:
    """Return what is left where this process writes its temporary files and where it works, in words."""
    places = dict.fromkeys((tempfile.gettempdir(), os.getcwd()))  # noqa: PTH109 - as the user's code sees it
    free = {place: free_bytes(Path(place)) for place in places}
    return ", ".join(f"{size(count)} free in {place}" for place, count in free.items() if count is not None)
