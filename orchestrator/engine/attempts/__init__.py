"""One rank's part of one attempt at a trial: reports, record, checkpoints. No Ray, no torch."""

from orchestrator.engine.attempts._attempt import Attempt, Rank, UserCode
from orchestrator.engine.attempts._link import LineDown, Link, WorkerKilled
from orchestrator.engine.attempts._shipped_log import local_log, ship_log
from orchestrator.engine.attempts._trial_run import TrialRun, stage
from orchestrator.engine.attempts._uploads import SnapshotPart

__all__ = [
    "Attempt",
    "LineDown",
    "Link",
    "Rank",
    "SnapshotPart",
    "TrialRun",
    "UserCode",
    "WorkerKilled",
    "local_log",
    "ship_log",
    "stage",
]
