"""What a run of a study is asked, what it is told, and how it ends: below the driver, above nothing of it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from orchestrator.errors import ExitCode
from orchestrator.record.spans import UNTRACED, Untraced

if TYPE_CHECKING:
    from orchestrator.engine.status import Snapshot
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.storage import Storage
    from orchestrator.record.studyrecord import StudyRecord
    from orchestrator.study.cells import Plan
    from orchestrator.study.entrypoint import EntrypointSource
    from orchestrator.study.spec import StudySpec
    from orchestrator.training.gates.results import CheckRequest


class RunnableStudy(Protocol):
    """A sound study, everything about it worked out: nothing of this is worked out again by a run.

    `plan`: its arms, and the cells that are known before any result; `storage`: where it is kept, seen to be
    writable; `paths`: its files there; `entrypoint`: where the user's code is; `source`: the study file.
    """

    spec: StudySpec
    plan: Plan
    storage: Storage
    paths: StudyPaths
    entrypoint: EntrypointSource
    source: Path


log = logging.getLogger(__name__)

MOST_UNSEEN = 8
"""Snapshots that wait to be shown."""
SHOWN_WITHIN_S = 5.0
"""How long the end of a run waits for what is still to be shown."""


@dataclass(frozen=True)
class RunOptions:
    """How this run differs from a plain one.

    `address`: a running Ray cluster; `fresh`: start anew, the old directory is renamed; `extend`: accept more
    arms and seeds; `accept_code_change`: go on with other code; `retry_failed`: run again what failed by its
    own fault, too; `check`: what to ask the cheap gates of before a new study (None: nothing); `no_check`: do
    not ask them now, and let no trial wait for the first reports of others;
    `again`: run these cells and no others, whatever they have ended as; `trace`: takes what the run does.
    """

    address: str | None = None
    fresh: bool = False
    extend: bool = False
    accept_code_change: bool = False
    retry_failed: bool = False
    check: CheckRequest | None = None
    no_check: bool = False
    again: tuple[str, ...] = ()
    trace: Untraced = UNTRACED


class Listener(Protocol):
    """Where a run shows itself. Called from background threads."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the study as it stands; called a few times a second."""

    def note(self, text: str) -> None:
        """One thing that happened and is worth a line."""


Beside = Callable[["StudyRecord", Callable[[str], None]], AbstractContextManager[object]]
"""What is entered while trials run, with the record and where lines for people go."""


def alone(record: StudyRecord, note: Callable[[str], None]) -> AbstractContextManager[object]:
    """Have nothing beside the run."""
    del record, note
    return nullcontext()


class Quiet:
    """A listener that shows nothing."""

    def update(self, snapshot: Snapshot) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Audience:
    """A listener in a thread of its own: one that is slow, hangs or fails never holds up the study.

    What comes faster than it is shown is left out, notes last.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._said: queue.SimpleQueue[Snapshot | str | None] = queue.SimpleQueue()  # also for signal handlers
        self._thread = threading.Thread(target=self._tell, name="orchestrator-audience", daemon=True)

    def update(self, snapshot: Snapshot) -> None:
        """Have it shown."""
        if self._said.qsize() < MOST_UNSEEN:
            self._said.put(snapshot)

    def note(self, text: str) -> None:
        """Have it shown."""
        if self._said.qsize() < 100 * MOST_UNSEEN:
            self._said.put(text)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._said.put(None)
        self._thread.join(SHOWN_WITHIN_S)

    def _tell(self) -> None:
        try:
            while (said := self._said.get()) is not None:
                if isinstance(said, str):
                    self._listener.note(said)
                else:
                    self._listener.update(said)
        except Exception:
            log.warning("the study goes on, and shows nothing more: its listener failed", exc_info=True)


@dataclass(frozen=True)
class StudyOutcome:
    """How a run ended. `counts`: trials per state; `root`: the study's directory, as the storage names it.

    `why`: the failure that has stopped the study, and the end of its log, in lines; empty where none has.
    """

    exit_code: ExitCode
    root: str
    counts: dict[str, int] = field(default_factory=dict)
    why: tuple[str, ...] = ()

    @property
    def interrupted(self) -> bool:
        """Whether somebody has stopped it."""
        return self.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
