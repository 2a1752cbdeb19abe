"""What the command line asks of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestrator.engine.snapshot import Snapshot
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.study.loading import LoadedStudy
    from orchestrator.training.gates.results import CheckRequest


@dataclass(frozen=True)
class RunOptions:
    """How this run of the command differs from a plain one."""

    address: str | None = None
    fresh: bool = False
    extend: bool = False
    accept_code_change: bool = False
    retry_failed: bool = False
    check: CheckRequest | None = None
    """What to ask the cheap gates of before a new study; None: nothing."""
    no_check: bool = False
    """Do not ask them now."""


class Listener(Protocol):
    """Where a run shows itself. Called from background threads."""

    def update(self, snapshot: Snapshot) -> None:
        """The study as it stands, a few times a second."""
        ...

    def note(self, text: str) -> None:
        """One thing that happened and is worth a line."""
        ...


@dataclass(frozen=True)
class StudyOutcome:
    """How a run of the command ended."""

    exit_code: ExitCode
    root: str
    counts: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    resume_hint: str = ""


def run_study(study: LoadedStudy, options: RunOptions, listener: Listener) -> StudyOutcome:
    """Run what is left of a study and keep its record.

    Handles SIGINT and SIGTERM itself while it runs: the first lets running trials leave at their next
    report, the second ends everything at once.

    Raises:
        OrchestratorError: bad input, a study that is held by another driver, no cluster. Nothing was
            started or written in the first two cases.
    """
    from orchestrator.engine.driver import Driver

    return Driver(study, options, listener).run()
