"""A study, or one trial of it, in this process: for debugging, and for studies that need no Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.api.notifying import Notifier
from orchestrator.api.progress import Progress, shown
from orchestrator.api.recorded import StudyResult
from orchestrator.api.study import Study, part_of
from orchestrator.engine.inprocess import run_in_process
from orchestrator.errors import Fault, InputError
from orchestrator.record.codeidentity import PackedCode
from orchestrator.record.provenance import collect_env
from orchestrator.record.studyrecord import Start, StudyRecord
from orchestrator.study.cells import FIXED, make_plan
from orchestrator.study.faults import nearest

if TYPE_CHECKING:
    from orchestrator.study.cells import Plan


def run_local(
    study: Study,
    arm: str | None = None,
    seed: int | None = None,
    *,
    storage: str | Path | None = None,
    function: Callable[..., Any] | None = None,
    slots: int = 1,
    progress: Progress = "auto",
) -> StudyResult:
    """Run a study, or one trial of it, with threads of this process instead of Ray's workers.

    Code, record, checkpoints and decisions are those of a run on Ray, and a run on Ray can go on with the
    record. Errors have their tracebacks here, and what the code prints is in the trial's log.

    Args:
        study: the study.
        arm: run this arm alone, once; None: what is left of the study.
        seed: of that trial; None: the study's first.
        storage: where the record of one trial goes; None: a temporary directory.
        function: called instead of the entrypoint, with the config of each trial; it may be defined in a
            notebook.
        slots: trials at the same time; what they share of this process is theirs to guard.
        progress: as in `Study.run`.

    Raises:
        InputError: there is no such arm, or the study was started with other settings or code.
        Unavailable: no storage, or another process runs this study.
    """
    if arm is None and (seed is not None or storage is not None):
        raise InputError(
            Fault("of one trial: name its arm, too", field="seed" if storage is None else "storage")
        )
    if arm is not None:
        study, plan = _one_trial(study, arm, study.spec.seeds[0] if seed is None else seed, storage)
    else:
        plan = study.plan
    with Notifier(study) as notifier:
        result = _run(study, plan, function, slots, progress, notifier)
        notifier.ended(result.outcome, lambda: result.report(curves=False))
    return result


def _run(
    study: Study,
    plan: Plan,
    function: Callable[..., Any] | None,
    slots: int,
    progress: Progress,
    notifier: Notifier,
) -> StudyResult:
    code = PackedCode.of(study.entrypoint, study.spec)
    env = {**collect_env(code.root or Path.cwd()), "on_ray": False}
    with shown(progress, f"running {study.name} in this process ...") as listener:
        record = StudyRecord.open(study.storage, study.spec, plan, Start(code.hash, code.archive, env))
        with closing(record), notifier.beside(record, listener.note):
            outcome = run_in_process(
                study.spec,
                record,
                function,
                code_root=study.entrypoint.root,
                slots=slots,
                listener=listener,
            )
    return StudyResult(study.storage, study.paths, outcome)


def _one_trial(study: Study, arm: str, seed: int, storage: str | Path | None) -> tuple[Study, Plan]:
    """Return the study without search, looks and all other trials, in a place of its own; it tells nobody."""
    names = [known.name for known in study.plan.arms]
    if arm not in names:
        raise InputError(Fault("the study has no such arm", field="arm", value=arm, hint=nearest(arm, names)))
    where = str(storage or tempfile.mkdtemp(prefix="orchestrate-local-"))
    alone = part_of(study, {"seeds": [seed], "storage": where, "notify": None})
    plan = make_plan(alone.spec)
    cells = tuple(cell for cell in plan.cells if (cell.arm, cell.phase) == (arm, FIXED))
    return alone, replace(plan, cells=cells)
