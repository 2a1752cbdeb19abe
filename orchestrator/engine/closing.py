"""The end of a run: what is still open is closed, and the tables are written."""

from __future__ import annotations

from orchestrator.engine.conduct import Conductor
from orchestrator.engine.running import StudyOutcome
from orchestrator.errors import ExitCode
from orchestrator.record.results import results_table, write_results
from orchestrator.record.studyrecord import StudyRecord


def conclude(conductor: Conductor, record: StudyRecord) -> StudyOutcome:
    """Cancel what did not leave, and write the results of all that has ended.

    Raises:
        StorageUnavailable, StudyHeld: the record cannot be written any more.
        OrchestratorError: why the study had to stop.
    """
    if conductor.stop is not None:
        conductor.give_up_waiting()
    if conductor.lost is not None:
        raise conductor.lost
    record.lease.verify()
    write_results(record.storage, record.paths, results_table(conductor.spec, record.state))
    if conductor.stop is not None and conductor.stop.error is not None:
        raise conductor.stop.error
    code = ExitCode(conductor.exit_code())
    return StudyOutcome(
        exit_code=code,
        root=record.storage.path(record.paths.root),
        counts=conductor.counts(),
        interrupted=code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED),
    )
