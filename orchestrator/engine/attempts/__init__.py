"""One rank's part of one attempt at a trial: reports, record, checkpoints. No Ray, no torch."""

from orchestrator.engine.attempts._attempt import (
    BROKEN_COLLECTIVE,
    KnownFailure,
    Rank,
    UserCode,
    free_space,
    run_attempt,
)
from orchestrator.engine.attempts._function import call_function, parameters
from orchestrator.engine.attempts._link import LineDown, Link, WorkerKilled
from orchestrator.engine.attempts._said import described
from orchestrator.engine.attempts._scores import OfferedScores
from orchestrator.engine.attempts._staging import Staging
from orchestrator.engine.attempts._trial_run import TrialRun
from orchestrator.engine.attempts._uploads import Part, SnapshotPart, StagedPart, local_log, ship_log, stage
