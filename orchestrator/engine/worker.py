"""One process of a lane: a worker of a long-lived Ray Train group runs trial after trial.

    attach → wait for an assignment → bind `ray.train.*` to it → run the user's code in a new thread
           → say how it ended → put the process back → wait for the next

A trial that leaves something behind which cannot be put back says so with its end; the message actor then
asks for fresh workers.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.collective
import torch
import torch.distributed

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.capture import TrialOutput
from orchestrator.engine.clean_slate import ProcessState, snapshot
from orchestrator.engine.entry import Entry, load_entry
from orchestrator.engine.lightning_trial import run_lightning
from orchestrator.engine.link import Link
from orchestrator.engine.messages import Assignment, Attached, LaneSpec, Outcome
from orchestrator.engine.plain_function import run_function
from orchestrator.engine.ray_private.binding import current_worker_handle
from orchestrator.engine.shipped_code import fetch_code
from orchestrator.engine.shipped_log import ship_log
from orchestrator.engine.task_session import TaskSession
from orchestrator.engine.trial_run import TrialRun
from orchestrator.engine.uploads import UploadFailed
from orchestrator.errors import StorageUnavailable
from orchestrator.record.appender import free_bytes
from orchestrator.record.attempts import Superseded
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.layout import TrialPaths
from orchestrator.record.storagefaults import StorageFaultKind, classify, size
from orchestrator.record.trackers.process import Trackers
from orchestrator.training.loop import run_task
from orchestrator.training.session import Diverged, TrialStopped

log = logging.getLogger(__name__)

ACCELERATOR_LABEL = "ray.io/accelerator-type"

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


class LaneWorker:
    """One process of a worker group: see the module's text."""

    def __init__(self, broker: Any, lane: str, spec: LaneSpec) -> None:
        context = ray.train.get_context()
        self.spec = spec
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        incarnation = _same_on_all_ranks(os.urandom(8).hex(), self.world_size)
        self.link = Link(broker, lane, self.rank, incarnation)
        self.cache: dict[str, Any] = {}
        elsewhere = tuple(name for name in spec.loggers if name != "tensorboard")
        self.trackers = Trackers(elsewhere if self.rank == 0 else ())
        self.threads = max(1, int(spec.cpus_per_worker))
        torch.set_num_threads(self.threads)
        self.code_root = fetch_code(spec)
        _warm_up(self.world_size)
        self.clean: ProcessState = snapshot(self.code_root)

    def serve(self) -> None:
        """Run assignments until the lane is closed or another worker group has taken its place."""
        self.link.attach(
            Attached(
                self.rank,
                ray.get_runtime_context().get_node_id(),
                os.getpid(),
                current_worker_handle(),
                _device(self.spec.gpus_per_worker),
            )
        )
        serial = 0
        while (assignment := self.link.next_assignment(serial)) is not None:
            serial = assignment.serial
            outcome = self._run_apart(assignment)
            self.link.ended(outcome)
        self.trackers.end()
        self.link.close()

    def _run_apart(self, assignment: Assignment) -> Outcome:
        """Run the trial in a thread of its own (autocast, grad mode and context variables end with it)."""
        result: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: result.append(self._run(assignment)), name=f"trial-{assignment.cell}"
        )
        thread.start()
        thread.join()
        del thread
        leftovers = self.clean.restore()
        outcome = result[0] if result else Outcome(TrialState.FAILED, Cause.INFRA, "the trial's thread died")
        if leftovers or not self.spec.reuse_workers:
            outcome = replace(outcome, recycle=(*outcome.recycle, *leftovers))
        return outcome

    def _run(self, assignment: Assignment) -> Outcome:
        torch.set_num_threads(self.threads)  # OpenMP counts per thread, and this one is new
        paths = TrialPaths(assignment.trial_dir)
        output = TrialOutput(self._log_path(paths), attempt=assignment.attempt)
        try:
            with output:
                return self._recorded(assignment, paths)
        finally:
            ship_log(self.spec.storage, output.path, paths.log(self.rank))

    def _recorded(self, assignment: Assignment, paths: TrialPaths) -> Outcome:
        """Run the trial while its output is captured; what goes wrong around it is no fault of the user's."""
        try:
            store = CheckpointStore(self.spec.storage, paths)
            resume = _same_on_all_ranks(store.latest() if self.rank == 0 else None, self.world_size)
            for what in store.warnings:
                log.warning("a checkpoint cannot be used: %s", what)
            run = TrialRun(
                self.spec,
                assignment,
                self.link,
                self.rank,
                self.world_size,
                resume,
                self.trackers,
                tuple(store.warnings),
            )
            outcome = self._attempt(assignment, run, resume)
        except Superseded as error:
            outcome = Outcome(TrialState.CANCELLED, reason=str(error), error=f"{error}\n")
        except (UploadFailed, StorageUnavailable, ray.exceptions.RayError, OSError) as error:
            ours = isinstance(error, (UploadFailed, StorageUnavailable))  # their texts say it all
            message = str(error) if ours else f"{type(error).__name__}: {error}"
            trace = traceback.format_exc(limit=-20)
            outcome = Outcome(TrialState.FAILED, Cause.INFRA, message, trace, fault=_storage_fault(error))
        if outcome.error:
            sys.stderr.write(outcome.error)
        return outcome

    def _attempt(self, assignment: Assignment, run: TrialRun, resume: Manifest | None) -> Outcome:
        try:
            entry = load_entry(self.spec.entrypoint, self.code_root, self.spec.datamodule)
        except BaseException as error:
            message = "".join(traceback.format_exception_only(error)).strip()
            self.link.entrypoint_failed(f"{self.spec.entrypoint}: {message}")
            # the study stops; the cell has not had its try
            return Outcome(TrialState.CANCELLED, reason=message, error=traceback.format_exc(limit=-20))
        run.open()
        outcome = Outcome(TrialState.FAILED, Cause.INFRA, "the trial did not end")
        try:
            outcome = self._call(entry, assignment, run, resume)
        finally:
            run.close(outcome.state)
        return outcome

    def _call(self, entry: Entry, assignment: Assignment, run: TrialRun, resume: Manifest | None) -> Outcome:
        """Run the user's code and say how it ended."""
        try:
            if entry.kind == "task":
                run_task(entry.target, TaskSession(run, assignment, self.cache))
            elif entry.kind == "lightning":
                run_lightning(entry, assignment, run, resume)
            else:
                run_function(entry.target, assignment, run, resume)
        except TrialStopped:
            return run.outcome()
        except BaseException as error:
            return _failure(error, run)
        if run.answer.stop:
            return run.outcome()
        if run.length < self.spec.max_length and not self.spec.allow_short:
            reason = (
                f"the entrypoint returned at {run.length:g} of {self.spec.max_length:g} {self.spec.unit}s; "
                "train up to config['max_length'], or set allow_short: true"
            )
            return _with(run, TrialState.FAILED, Cause.SHORT, reason)
        if run.value is None:
            reason = (
                f"the trial never reported {self.spec.metric!r}; metric.name must be a key that it reports"
            )
            return _with(run, TrialState.FAILED, Cause.USER, reason)
        return run.outcome()

    def _log_path(self, paths: TrialPaths) -> Path:
        relative = paths.log(self.rank)
        if self.spec.storage.is_local:
            path = Path(self.spec.storage.local_path(relative))
        else:
            path = Path(tempfile.gettempdir()) / f"orchestrator-{os.getpid()}" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _failure(error: BaseException, run: TrialRun) -> Outcome:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-20))
    message = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, Diverged):
        return _with(run, TrialState.DIVERGED, None, message, text)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return _with(run, TrialState.FAILED, Cause.OOM, message, text)
    if isinstance(error, UploadFailed):
        return _with(run, TrialState.FAILED, Cause.INFRA, message, text, _storage_fault(error))
    disk = classify(error)
    if disk is not None and disk.kind in DISK_FAULTS:
        reason = f"{disk.kind} on {socket.gethostname()}: {message}; {free_space()}"
        return _with(run, TrialState.FAILED, Cause.INFRA, reason, text, _storage_fault(error))
    broken = isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(mark in message for mark in BROKEN_COLLECTIVE)
    )
    outcome = _with(run, TrialState.FAILED, Cause.USER, message, text)
    if broken and run.world_size > 1:
        return replace(outcome, secondary=True)
    return outcome


def _storage_fault(error: BaseException) -> FaultKind | None:
    """Whether a disk is full or the storage fails; None for what has nothing to do with either."""
    found = classify(error)
    if found is None:
        return None
    return FaultKind.DISK_FULL if found.kind is StorageFaultKind.DISK_FULL else FaultKind.STORAGE


def free_space() -> str:
    """What is left where this process writes its temporary files and where it works, in words."""
    places = dict.fromkeys((tempfile.gettempdir(), os.getcwd()))  # noqa: PTH109 - as the user's code sees it
    free = {place: free_bytes(Path(place)) for place in places}
    return ", ".join(f"{size(count)} free in {place}" for place, count in free.items() if count is not None)


def _with(
    run: TrialRun,
    state: TrialState,
    cause: Cause | None,
    reason: str,
    error: str | None = None,
    fault: FaultKind | None = None,
) -> Outcome:
    length = run.length if run.index else None
    return Outcome(state, cause, reason, error, length, run.value, run.index, run.training_s(), fault=fault)


def _same_on_all_ranks(value: Any, world_size: int) -> Any:
    """Rank 0's value, on every rank."""
    if world_size == 1:
        return value
    return ray.train.collective.broadcast_from_rank_zero(value)


def _device(gpus: float) -> str:
    """What this worker computes on: CPU, or Ray's name of its node's GPU type, as in `accelerator_type`.

    Not CUDA's name: asking for it would start CUDA before the user's code runs.
    """
    if not gpus:
        return "CPU"
    labels = ray.get_runtime_context().get_node_labels()
    return str(labels.get(ACCELERATOR_LABEL) or "GPU")


def _warm_up(world_size: int) -> None:
    """Touch what every trial needs, so that the first one does not pay for it.

    No `torch.optim` here: it imports `torch._dynamo`, a second that the built-in loop does without.
    """
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.sum().backward()
    if world_size > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
