"""Why a study stops before all its cells are answered, and what its trials are told then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.decide.states import TrialState
from orchestrator.engine.actions import StopRequest
from orchestrator.engine.messages import Answer
from orchestrator.engine.notes import Notes
from orchestrator.errors import ExitCode, StorageUnavailable, StudyHeld
from orchestrator.record.events import Noted
from orchestrator.record.studyrecord import StudyRecord


class Stopping:
    """See the module's text. Not thread-safe: the conductor's lock guards it.

    `request`: the first one, None while the study goes on; `lost`: why the record cannot be written any more.
    """

    def __init__(self, record: StudyRecord, notes: Notes) -> None:
        self._record, self._notes = record, notes
        self.request: StopRequest | None = None
        self.lost: StorageUnavailable | StudyHeld | None = None

    def ask(self, request: StopRequest) -> None:
        """Stop, unless that was asked already."""
        if self.request is not None:
            return
        self.request = request
        self._notes.add(request.reason)
        with self.recording():
            self._record.append(Noted(request.reason))
            self._record.sync()

    def storage_failed(self, error: StorageUnavailable | StudyHeld) -> None:
        """Whatever this process learns from now on is lost; cells go on from their checkpoints next time."""
        if self.lost is None:
            self.lost = error
            self.request = StopRequest(str(error), ExitCode.UNAVAILABLE, error)
            self._notes.add(f"the study stops: {error}")

    @contextmanager
    def recording(self) -> Iterator[None]:
        """What is inside takes effect only when it is on the disk; when it cannot be, the study stops."""
        try:
            yield
        except (StorageUnavailable, StudyHeld) as error:
            self.storage_failed(error)

    def answer(self) -> Answer:
        """What a running trial is told."""
        assert self.request is not None
        return Answer(True, TrialState.CANCELLED, self.request.reason)
