"""What this run writes down and says to people, and why it stops before all cells are answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.decide.states import TrialState
from orchestrator.engine.messages import Answer, StopRequest
from orchestrator.errors import ExitCode, StorageUnavailable, StudyHeld
from orchestrator.record.events import Noted
from orchestrator.record.storage import Storage
from orchestrator.record.studyrecord import StudyRecord

_KEPT = 200
_TAIL_LINES, _TAIL_BYTES = 5, 20_000  # of the log of a trial that ends the study
_LONGEST = 300  # characters of an error in a line for people; the record has more of it


class RunLog:
    """Not thread-safe: the conductor's lock guards it.

    `request`: why the study stops, None while it goes on; `lost`: why the record cannot be written any more.
    """

    def __init__(self, record: StudyRecord) -> None:
        self.record = record
        self.request: StopRequest | None = None
        self.lost: StorageUnavailable | StudyHeld | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._unseen: list[str] = []

    def say(self, text: str) -> None:
        """Tell people one more line."""
        self._lines.append(text)
        self._unseen.append(text)

    def note(self, text: str) -> None:
        """Tell people, and write it down."""
        self.say(text)
        self.record.append(Noted(text))

    def latest(self, count: int) -> tuple[str, ...]:
        """Return the last lines, oldest first."""
        return tuple(self._lines)[-count:]

    def unseen(self) -> list[str]:
        """Return the lines since the last call."""
        unseen, self._unseen = self._unseen, []
        return unseen

    def stop(self, request: StopRequest) -> None:
        """Stop, unless that was asked already."""
        if self.request is not None:
            return
        self.request = request
        with self.recording():
            self.note(request.reason)
            self.record.sync()

    def storage_failed(self, error: StorageUnavailable | StudyHeld) -> None:
        """Stop: what this process learns from now on is lost; trials go on from their checkpoints."""
        if self.lost is None:
            self.lost = error
            self.request = StopRequest(str(error), ExitCode.UNAVAILABLE, error)
            self.say(f"the study stops: {error}")

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Let what is inside take effect only when it is on the disk; when it cannot be, the study stops."""
        try:
            yield
        except (StorageUnavailable, StudyHeld) as error:
            self.storage_failed(error)

    def leave(self) -> Answer:
        """Return what a running trial is told once the study stops."""
        assert self.request is not None
        return Answer(True, TrialState.CANCELLED, self.request.reason)


def last_lines(storage: Storage, log: str) -> list[str]:
    """Return the last lines of a trial's log, the long ones cut; none where it cannot be read."""
    try:
        text = storage.read_bytes(log)[-_TAIL_BYTES:].decode(errors="replace")
    except (OSError, StorageUnavailable):
        return []
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return [line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…" for line in lines[-_TAIL_LINES:]]
