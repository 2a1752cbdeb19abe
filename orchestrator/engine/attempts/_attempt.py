"""One attempt at a cell on one worker, until it is known how it ended. Knows neither Ray nor torch.

How the user's code is found and called is handed in; what goes wrong around it is no fault of the user's.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.attempts._bound import current
from orchestrator.engine.attempts._link import Link, WorkerKilled
from orchestrator.engine.attempts._said import bounded, described
from orchestrator.engine.attempts._trial_run import TrialRun
from orchestrator.engine.attempts._uploads import UploadFailed, local_log
from orchestrator.engine.messages import Assignment, Outcome, RunFacts
from orchestrator.errors import StorageUnavailable
from orchestrator.record.attempts import Superseded
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.layout import TrialPaths
from orchestrator.record.storagefaults import StorageFault, StorageFaultKind, classify, free_bytes
from orchestrator.record.trackers.process import Trackers
from orchestrator.record.trees import CheckpointRefused
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

_LOADER = re.compile(r"_*(loads?|restore|(load|restore|resume)_\w*(state|checkpoint|ckpt)\w*)$")
UNSAFE = (
    "(weights_only=False runs whatever code is in the file: only for files that are your own; "
    "better keep tensors, numbers and texts in checkpoints)"
)

UserCode = Callable[[TrialRun], None]
"""Calls the user's code for a trial."""


class KnownFailure(Exception):
    """Raised by a runner that knows why its trial has failed; the text is the reason, in a line.

    `secondary`: the failure of another rank is behind it; `unfit`: the study file says otherwise of it.
    """

    def __init__(
        self,
        cause: Cause,
        reason: str,
        *,
        fault: FaultKind | None = None,
        secondary: bool = False,
        unfit: bool = False,
    ) -> None:
        super().__init__(cause, reason, fault, secondary, unfit)
        self.cause, self.reason, self.fault, self.secondary = cause, reason, fault, secondary
        self.unfit = unfit


@dataclass(frozen=True)
class Rank:
    """One worker's place in its group.

    `same`: rank 0's value, on every rank; `load`: imports the user's code, or raises whatever it raises;
    `folder`: the trial's own directory, None: where we are.
    """

    rank: int
    world_size: int
    same: Callable[[Any], Any]
    load: Callable[[], UserCode]
    folder: Path | None = None


def run_attempt(
    facts: RunFacts, assignment: Assignment, link: Link, place: Rank, trackers: Trackers | None = None
) -> Outcome:
    """Run a trial on one rank and say how it ended; what the user's code raised is in the outcome.

    `place`: this worker, and how it comes to the user's code; `trackers`: those of this worker.
    """
    try:
        with link.trace.attempt(f"{assignment.arm} seed {assignment.seed}", attempt=assignment.attempt):
            outcome = _attempt(_open(facts, assignment, link, place, trackers), place)
    except Superseded as error:
        outcome = Outcome(TrialState.CANCELLED, reason=str(error), error=f"{error}\n")
    except Exception as error:  # of the storage, of the line, of a thread that writes, sends or uploads
        ours = isinstance(error, (UploadFailed, StorageUnavailable))  # their texts say it all
        message, trace = described(error)
        message = bounded(str(error)) if ours else message
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
    run = TrialRun(facts, assignment, link, place.rank, place.world_size, resume, trackers, passed_over)
    run.folder = place.folder or run.folder
    return run


def _attempt(run: TrialRun, place: Rank) -> Outcome:
    spans = run.link.trace
    try:
        with spans.span("import the entrypoint"):
            user_code = place.load()
    except BaseException as error:
        message, trace = described(error)
        run.link.entrypoint_failed(f"{run.spec.entrypoint}: {message}")
        # the study stops; the cell has not had its try
        return Outcome(TrialState.CANCELLED, reason=message, error=trace)
    with spans.span("open the trial's record"):
        run.open()
    outcome = Outcome(TrialState.FAILED, Cause.INFRA, "the trial did not end")
    try:
        outcome = _call(user_code, run)
    finally:
        try:
            with spans.span("close the trial's record"):
                run.close(outcome.state)
        except CheckpointRefused as error:  # the last one
            outcome = outcome if outcome.state is TrialState.FAILED else _failure(error, run)
    return outcome


def _call(user_code: UserCode, run: TrialRun) -> Outcome:
    """Run the user's code and say how it ended."""
    try:
        with current(run, run.folder):
            user_code(run)
        return _returned(run, "returned")
    except WorkerKilled:
        raise
    except TrialStopped:
        return run.outcome()
    except SystemExit as error:
        code: object = error.code
        if code is None or (type(code) is int and code == 0):
            return _returned(run, f"called sys.exit({'' if code is None else 0})")
        return _failure(error, run)
    except BaseException as error:
        return _failure(error, run)


def _returned(run: TrialRun, how: str) -> Outcome:
    """Return how a trial ended whose code has come to its end, and what it has left out."""
    stopping, who = run.spec.stopping, f"the entrypoint{run.of_rank}"
    if run.answer.stop:
        return run.outcome()
    if run.refused is not None:  # and the user's code has caught that
        reason = f"{who} {how} after a report that was refused: {run.refused}"
        return run.ended(TrialState.FAILED, Cause.USER, reason)
    if run.length >= stopping.max or run.spec.allow_short or run.early:
        return run.outcome()
    where = f"at {run.length:g} of {stopping.max:g} {stopping.unit.removesuffix('s')}s"
    if run.has_said:
        reason = f"{who} {how} {where}; train up to config['max_length'], or set allow_short: true"
    else:
        ranks = f" on each of the {run.world_size} ranks (the values of rank 0 count)" if run.of_rank else ""
        reason = f"{who} {how} without a report, {where}; call ray.train.report({{...}}) as it trains{ranks}"
    return run.ended(TrialState.FAILED, Cause.SHORT, reason)


def _failure(error: BaseException, run: TrialRun) -> Outcome:
    if isinstance(error, KnownFailure):
        reason = bounded(error.reason)
        ended = run.ended(TrialState.FAILED, error.cause, reason, f"{reason}\n")
        return replace(ended, fault=error.fault, secondary=error.secondary, unfit=error.unfit)
    message, text = described(error)
    if isinstance(error, SystemExit) and type(error.code) is int:  # who exits like that has said why before
        message = f"{message} (after: {last_words(run)})"
    if "weights_only" in message:  # torch's advice is to switch it off
        message, text = f"{message.splitlines()[0][:300]} {UNSAFE}", f"{text}{UNSAFE}\n"
    if isinstance(error, Diverged):
        return run.ended(TrialState.DIVERGED, None, message, text)
    cause, fault, disk, secondary = Cause.USER, None, _classified(error), False
    if isinstance(error, MemoryError) or _of_torch(error, "OutOfMemoryError"):
        cause = Cause.OOM
    elif isinstance(error, UploadFailed):
        cause, fault = Cause.INFRA, _storage_fault(error)
    elif disk is not None and disk.kind in DISK_FAULTS:
        cause, fault = Cause.INFRA, _storage_fault(error)
        message = f"{disk.kind} on {socket.gethostname()}: {message}; {free_space()}"
    elif run.resume is not None and not run.has_said and _loads(error, run):
        cause, fault = Cause.INFRA, FaultKind.CHECKPOINT
        run.reject_resume(f"it could not be loaded: {message}")
        message = f"checkpoint {run.resume.name} could not be loaded and is not used again: {message}"
    elif run.world_size > 1:
        collective = isinstance(error, RuntimeError) and any(mark in message for mark in BROKEN_COLLECTIVE)
        secondary = collective or _of_torch(error, "DistError")
    return replace(run.ended(TrialState.FAILED, cause, message, text), secondary=secondary, fault=fault)


def _loads(error: BaseException, run: TrialRun) -> bool:
    """Whether it was raised while the checkpoint was loaded, or may have been: names of functions tell."""
    frames = traceback.walk_tb(error.__traceback__)
    return run.loading_broke or (
        run.handed_out and any(_LOADER.match(frame.f_code.co_name) for frame, _ in frames)
    )


def _of_torch(error: BaseException, name: str) -> bool:
    """Whether it is torch's error of this name, asked without importing torch."""
    return any(kind.__name__ == name and kind.__module__.startswith("torch") for kind in type(error).__mro__)


def _storage_fault(error: BaseException) -> FaultKind | None:
    """Whether a disk is full or the storage fails; None for what has nothing to do with either."""
    found = _classified(error)
    if found is None:
        return None
    return FaultKind.DISK_FULL if found.kind is StorageFaultKind.DISK_FULL else FaultKind.STORAGE


def _classified(error: BaseException) -> StorageFault | None:
    try:
        return classify(error)
    except BaseException:  # an exception of the user's that cannot say what it is
        return None


def last_words(run: TrialRun) -> str:
    """Return the last line that the trial has printed: what argparse and its like say before they exit."""
    time.sleep(0.02)  # a flush right after another one may be put off
    sys.stderr.flush()
    with suppress(OSError):
        log = local_log(run.storage, run.paths.log(run.rank)).read_bytes()[-4000:].decode(errors="replace")
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        return bounded(lines[-1], 500) if lines else "it printed nothing"
    return "its log cannot be read"


def free_space() -> str:
    """Return what is left where this process writes its temporary files and where it works, in words."""
    places = dict.fromkeys((tempfile.gettempdir(), os.getcwd()))  # noqa: PTH109 - as the user's code sees it
    free = {place: free_bytes(Path(place)) for place in places}
    return ", ".join(
        f"{decimal(count)} free in {place}" for place, count in free.items() if count is not None
    )
