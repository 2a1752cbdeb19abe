"""One process of a lane: a worker of a long-lived Ray Train group runs trial after trial.

    attach → wait for an assignment → bind `ray.train.*` to it → run the user's code in a new thread
           → say how it ended → put the process back → wait for the next

A trial that leaves something behind which cannot be put back says so with its end; the broker then asks for
fresh workers.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.collective
import ray.train.torch
import torch
import torch.distributed
from torch import nn

from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.attempts import (
    LineDown,
    Link,
    Rank,
    TrialRun,
    UserCode,
    described,
    local_log,
    run_attempt,
    ship_log,
)
from orchestrator.engine.clean_slate import ProcessState, snapshot
from orchestrator.engine.messages import Assignment, Attached, Outcome, RunFacts
from orchestrator.engine.place import Home, NextHome, audited, home_of, seen_here
from orchestrator.engine.ray_private.head import EMBEDDED
from orchestrator.engine.ray_private.light import PackedHandle
from orchestrator.engine.runners import Code, runner_of
from orchestrator.engine.runners.session import TrialSession
from orchestrator.engine.workers._capture import TrialOutput
from orchestrator.engine.workers._plain_function import bound
from orchestrator.record.codearchive import unpack_code
from orchestrator.record.layout import TrialPaths
from orchestrator.record.privatedir import make_private
from orchestrator.record.trackers.process import Trackers, services
from orchestrator.study.spec import StudySpec
from orchestrator.training.settings import loaders

ACCELERATOR_LABEL = "ray.io/accelerator-type"


class TaskSession(TrialSession):
    """One rank's session, beside the others of its group."""

    def __init__(self, run: TrialRun, cache: MutableMapping[str, Any]) -> None:
        super().__init__(run, cache, ray.train.torch.get_device())
        self.loader_workers = loaders(run.spec.resources.cpus_per_worker)
        self.local_rank = ray.train.get_context().get_local_rank()

    def prepare_model(self, model: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return super().prepare_model(model)
        prepared: nn.Module = ray.train.torch.prepare_model(model)
        return prepared

    def barrier(self) -> None:
        if self.world_size > 1:
            ray.train.collective.barrier()


class LaneWorker:
    """One process of a worker group."""

    def __init__(self, broker: Any, lane: str, facts: RunFacts) -> None:
        context = ray.train.get_context()
        self.facts, spec = facts, facts.spec
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        incarnation = _same_on_all_ranks(self.world_size, os.urandom(8).hex())
        self.link = Link(partial(_call, broker), lane, self.rank, incarnation, traced=facts.traced)
        self.cache: dict[str, Any] = {}
        with self.link.trace.span("set up the worker"):
            self._set_up(spec)

    def _set_up(self, spec: StudySpec) -> None:
        """Get the code, warm up, and remember the process as it is."""
        facts = self.facts
        # its process may still send when all others of a driver that is gone are ended
        self.trackers = Trackers(services(spec.loggers) if self.rank == 0 else (), without=(EMBEDDED,))
        self.threads = max(1, int(spec.resources.cpus_per_worker))
        torch.set_num_threads(self.threads)
        self.code_root = _fetch_code(facts)
        self.facts = replace(facts, project=seen_here(facts.project, self.code_root))
        torch.save = audited(torch.save)  # it opens files in native code
        self._unkept: Home | None = None
        self.next_home = NextHome(self.facts, self.code_root)
        if self.rank == 0:  # the others find it
            self.next_home.begin()
        _warm_up(self.world_size)
        self.clean: ProcessState = snapshot(self.code_root)
        self._before = frozenset(sys.modules)

    def serve(self) -> None:
        """Run assignments until the lane is closed or another worker group has taken its place."""
        here, device = ray.get_runtime_context(), _device(self.facts.gpus_per_worker)
        me = PackedHandle.of(here.current_actor)
        watches = ray.train.get_context().get_local_rank() == 0
        self.link.attach(Attached(self.rank, here.get_node_id(), me, device), watches=watches)
        serial = 0
        while (assignment := self.link.next_assignment(serial)) is not None:
            serial = assignment.serial
            self._keep()
            self.link.ended(self._run_apart(assignment))
        self._keep()
        self.next_home.drop()
        self.trackers.end()
        self.link.close()

    def _keep(self) -> None:
        """Keep what the last trial has written: all ranks have left it."""
        if self._unkept is not None:
            self.next_home.keep(self._unkept)
            self._unkept = None

    def _run_apart(self, assignment: Assignment) -> Outcome:
        """Run the trial in a thread of its own (autocast, grad mode and context variables end with it)."""
        result: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: result.append(self._run(assignment)), name=f"trial-{assignment.cell}"
        )
        thread.start()
        thread.join()
        del thread
        with self.link.trace.span("put the process back"):
            imported = _imported(self.code_root, self.facts.counted, self._before)
            leftovers = self.clean.restore()
        outcome = replace(result[0], imported=imported)
        if leftovers or not self.facts.spec.resources.reuse_workers:
            outcome = replace(outcome, recycle=(*outcome.recycle, *leftovers))
        return outcome

    def _run(self, assignment: Assignment) -> Outcome:
        try:
            torch.set_num_threads(self.threads)  # OpenMP counts per thread, and this one is new
            paths = TrialPaths(assignment.trial_dir)
            output = TrialOutput(
                local_log(self.facts.storage, paths.log(self.rank)), attempt=assignment.attempt
            )
            home, same = (
                home_of(self.facts, assignment, self.code_root),
                partial(_same_on_all_ranks, self.world_size),
            )
            place = Rank(self.rank, self.world_size, same, self._load, home.path)
            try:
                with output, home.entered(self.next_home.becomes(home)) as written:
                    outcome = run_attempt(self.facts, assignment, self.link, place, self.trackers)
                if self.rank == 0 and home.is_over(outcome):
                    self._unkept = home
                    if self.world_size == 1:
                        self._keep()
                wrote, shared = written.told()
                return replace(outcome, wrote=wrote, shared=shared)
            finally:
                ship_log(self.facts.storage, output.path, paths.log(self.rank))
        except BaseException as error:  # nobody else would hear of it: the thread ends here
            message, trace = described(error)
            return Outcome(TrialState.FAILED, Cause.INFRA, f"the trial's thread died: {message}", trace)

    def _load(self) -> UserCode:
        spec = self.facts.spec
        return partial(runner_of(Code(spec.code, self.code_root, spec.datamodule)).run, place=self)

    # ---- the runner's `TrialPlace` ------------------------------------------------------------------------

    def bound(self, run: TrialRun) -> AbstractContextManager[None]:
        """`ray.train.*` is that of the trial in this context."""
        return bound(run)

    def session(self, run: TrialRun) -> AbstractContextManager[TaskSession]:
        """Return what the built-in loop talks to."""
        return nullcontext(TaskSession(run, self.cache))


def _fetch_code(facts: RunFacts) -> Path | None:
    """Unpack the study's code once per node; returns its root, or None for an installed package."""
    if facts.module_root is None:
        return None
    home = make_private(Path(tempfile.gettempdir()) / f"orchestrator-code-{os.getuid()}")
    target = home / facts.code_digest
    with (home / f"{facts.code_digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / ".complete").exists():
            archive = facts.storage.read_bytes(facts.code_archive)
            unpack_code(archive, target)
            (target / ".complete").touch()
    return target


def _imported(root: Path | None, known: frozenset[str], before: frozenset[str]) -> tuple[str, ...]:
    """Return the files below `root` that are imported now, without those that are `known`.

    `before`: names of the modules that were there before any code of the study's.
    """
    if root is None:
        return ()
    names = [name for name in list(sys.modules) if name not in before]
    files = (getattr(sys.modules.get(name), "__file__", None) for name in names)
    below = (Path(file) for file in files if isinstance(file, str) and file.startswith(f"{root}{os.sep}"))
    return tuple(sorted({path.relative_to(root).as_posix() for path in below} - known))


def _call(broker: Any, method: str, *arguments: Any) -> Any:
    try:
        return ray.get(getattr(broker, method).remote(*arguments))
    except ray.exceptions.RayError as error:
        raise LineDown(f"{type(error).__name__}: {error}") from error


def _same_on_all_ranks(world_size: int, value: Any) -> Any:
    """Rank 0's value, on every rank."""
    if world_size == 1:
        return value
    return ray.train.collective.broadcast_from_rank_zero(value)


def _device(gpus: float) -> str:
    """Return what this worker computes on: CPU, or Ray's name of its node's GPU type, as in
    `accelerator_type`.

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
