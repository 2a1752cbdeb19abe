"""A whole study in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.engine.attempts import UserCode
from orchestrator.engine.conduct import Conductor
from orchestrator.engine.inprocess._faults import Faults
from orchestrator.engine.inprocess._runtime import InProcess
from orchestrator.engine.inprocess._session import user_code
from orchestrator.engine.messages import RunFacts
from orchestrator.engine.pump import Pump, conclude
from orchestrator.engine.running import Audience, Listener, Quiet, StudyOutcome
from orchestrator.errors import ExitCode
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.study.spec import StudySpec


def run_in_process(
    spec: StudySpec,
    record: StudyRecord,
    function: Callable[..., Any] | None = None,
    *,
    code_root: Path | None = None,
    slots: int = 1,
    nodes: int = 1,
    faults: Faults | None = None,
    listener: Listener | None = None,
    retry_failed: bool = False,
    again: Collection[str] = (),
    probes: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> StudyOutcome:
    """Run what is left of a study, with threads for workers; the caller closes the record.

    Args:
        record: the opened record (lease held).
        function: called with each config; reports with `inprocess.report`, or with `ray.train.report`.
            None: the study's entrypoint, a plain function or a Task, which is imported from `code_root`.
        slots: how many trials of a node run at once; what they share of this process is theirs to guard.
        faults: what goes wrong on the way, for tests.
        probes: the other trials wait for the first reports of the first ones.
        clock: seconds, monotonic; budgets and silence go by it.

    Raises:
        OrchestratorError: why the study had to stop.
        DriverKilled: a fault said so; the record is as that driver left it.
    """
    record.reopen(again, "this process")
    conductor = Conductor(
        record,
        spec,
        gpus_per_worker=0.0,
        retry_failed=retry_failed,
        only=again,
        probes=probes,
        clock=clock,
    )
    if not conductor.finished():
        own = not isinstance(spec.entrypoint, str)  # a command works where its script lies
        here = code_root is None or (code_root.is_relative_to(Path.cwd()) and not own)
        project = str(Path.cwd() if here else code_root)
        root, traced = record.paths.root, record.trace.on
        facts = RunFacts(spec, record.storage, root, None, "", "", 0.0, project=project, traced=traced)
        load = partial(user_code, function) if function is not None else _entrypoint(spec, code_root)
        with (
            Audience(listener or Quiet()) as audience,
            InProcess(facts, load, slots=slots, nodes=nodes, faults=faults) as runtime,
        ):
            _run(Pump(conductor, runtime, record, audience), runtime)
    return conclude(conductor, record)


def _entrypoint(spec: StudySpec, code_root: Path | None) -> Callable[[], UserCode]:
    import torch

    from orchestrator.engine.inprocess._entry import entrypoint_of

    return entrypoint_of(spec, code_root, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _run(pump: Pump, runtime: InProcess) -> None:
    """Let running trials leave at their next report at the first Ctrl-C, and leave them at the second."""
    with pump.beside() as road:
        try:
            runtime.run(road)
        except KeyboardInterrupt:
            pump.stop_soon("stopped by Ctrl-C", ExitCode.INTERRUPTED)
            runtime.run(road)
