"""A trial of the recorded study with what a trial leaves: curves of two attempts, checkpoints, pictures."""

from __future__ import annotations

import numpy as np

from orchestrator.decide.states import Cause, TrialState
from orchestrator.record.checkpoints import CheckpointStore, Manifest
from orchestrator.record.events import Assigned, AttemptFailed, Started, TrialEnd
from orchestrator.record.layout import StudyPaths, TrialPaths
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.record.triallog import ResumePoint, TrialLog

ARM, SEED = "kind=vit", 0
LOGGERS = ("tensorboard",)


def cell_of(record: StudyRecord, arm: str = ARM, seed: int = SEED) -> str:
    """Return the cell of an arm and a seed."""
    return next(cell.cell for cell in record.plan.cells if (cell.arm, cell.seed) == (arm, seed))


def paths_of(record: StudyRecord, arm: str = ARM, seed: int = SEED) -> TrialPaths:
    """Return the files of its trial."""
    return StudyPaths(record.plan.study).trial(arm, seed)


def row(report: int, loss: float, attempt: int, **more: object) -> dict[str, object]:
    """Return one report."""
    at = {"report": report, "step": 10 * report, "epoch": report, "time_s": 1.0 * report, "attempt": attempt}
    return {**at, "loss": loss, **more}


def begin_trial(record: StudyRecord) -> str:
    """Two attempts under way: the first one lost its node after two reports and a checkpoint."""
    cell, paths = cell_of(record), paths_of(record)
    record.append(Assigned(cell, ARM, SEED, 1, "lane-1", None))
    record.append(Started(cell, 1, "lane-1", ("CPU",), None))
    log = TrialLog(record.storage, paths, 1, loggers=LOGGERS)
    log.report(row(1, 3.0, 1, acc=0.5))
    log.image("confusion", np.zeros((4, 4, 3), np.uint8), 10)
    log.report(row(2, 2.0, 1, acc=float("nan"), note="words"))
    log.image("confusion", np.ones((4, 4, 3), np.uint8), 20)
    log.close()
    store = CheckpointStore(record.storage, paths)
    folder = record.storage.local_path(paths.root) / "made"
    folder.mkdir()
    (folder / "weights").write_bytes(bytes(2048))
    for number, value in ((1, 1.0), (2, 2.0)):
        name = f"step-{10 * number:08d}"
        sizes = store.put_part(name, folder)
        known = {"value": value, "score": -value, "files": sizes}
        store.commit(name, Manifest(10 * number, number, number, number, 1.0, 1, **known))
    record.append(AttemptFailed(cell, 1, Cause.INFRA, "the node went away", again=True, node="node-7"))
    record.append(Assigned(cell, ARM, SEED, 2, "lane-2", None))
    record.append(Started(cell, 2, "lane-2", ("CPU",), 10))
    point = ResumePoint(1, 10, "step-00000010")
    log = TrialLog(record.storage, paths, 2, point, adopted=["step-00000010"], loggers=LOGGERS)
    log.report(row(2, 1.5, 2, acc=0.75))
    log.scalars({"grad/norm": 7.0}, 15)
    log.close()
    record.storage.local_path(paths.log()).write_text("first\n\x1b[31mred\n10%\r20%\n")
    record.sync()
    return cell


def end_trial(record: StudyRecord, cell: str) -> None:
    """Let it be done."""
    end = TrialEnd(cell, ARM, SEED, 2, TrialState.DONE, None, None, 3.0, 1.25, wall_s=60.0, gpu_s=30.0)
    record.append(end)
    record.sync()
