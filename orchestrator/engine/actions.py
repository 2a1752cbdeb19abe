"""What the conductor wants done, and why it stops: plain data."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.engine.messages import Answer, Assignment, Outcome
from orchestrator.errors import ExitCode, OrchestratorError


@dataclass(frozen=True)
class Reassign:
    """Give the lane the next attempt, or (None) end its trial with `outcome`."""

    lane: str
    assignment: Assignment | None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Recycle:
    """Replace the lane's workers, if they are still at this attempt."""

    lane: str
    cell: str
    attempt: int
    reason: str


@dataclass(frozen=True)
class StopTrial:
    """Let a trial leave at its next report."""

    cell: str
    attempt: int
    answer: Answer


@dataclass(frozen=True)
class SetAside:
    """From now on these are all the nodes (ids) that get no new lane; and some lanes have to end."""

    nodes: tuple[str, ...]
    lanes: tuple[str, ...]
    reason: str


Action = Reassign | Recycle | StopTrial | SetAside


@dataclass(frozen=True)
class StopRequest:
    """Why the study stops before all cells are answered."""

    reason: str
    exit_code: ExitCode
    error: OrchestratorError | None = None
