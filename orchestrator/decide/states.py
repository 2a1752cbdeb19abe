"""The states of a trial and the one table of legal moves between them."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.errors import InternalError


class TrialState(StrEnum):
    """Where a cell stands; what it ended as is a finding of the study."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def terminal(self) -> bool:
        """No attempt is under way and none is waiting."""
        return self not in _OPEN

    @property
    def answered(self) -> bool:
        """The study has its answer for this cell; running the same command again leaves it alone."""
        return self in _ANSWERED


_ANSWERED = (TrialState.DONE, TrialState.STOPPED, TrialState.DIVERGED, TrialState.SKIPPED)
_OPEN = (TrialState.PENDING, TrialState.RUNNING)
"""Asked for at every event, of every cell: a member of an enum takes ten times as long to look up."""


class Cause(StrEnum):
    """Why a trial failed. `user`, `oom` and `short` are outcomes of the arm; `hang` and `infra` are not."""

    USER = "user"
    OOM = "oom"
    SHORT = "short"
    HANG = "hang"
    INFRA = "infra"


_AGAIN = frozenset({TrialState.PENDING, TrialState.RUNNING, TrialState.SKIPPED})
TRANSITIONS: dict[TrialState, frozenset[TrialState]] = {
    TrialState.PENDING: frozenset({TrialState.RUNNING, TrialState.CANCELLED, TrialState.SKIPPED}),
    # running -> running: the driver died and the cell is assigned again; -> pending: it waits for its retry
    TrialState.RUNNING: frozenset(TrialState),
    # -> skipped: it lost its infrastructure, and the next start finds that nothing needs it any more
    TrialState.FAILED: _AGAIN,
    TrialState.CANCELLED: _AGAIN,
    TrialState.DONE: frozenset(),
    TrialState.STOPPED: frozenset(),
    TrialState.DIVERGED: frozenset(),
    # a failed run that is tried again on request may bring an arm back: its later seeds are decided anew
    TrialState.SKIPPED: _AGAIN,
}


class IllegalTransition(InternalError):
    """A trial was moved to a state that it cannot reach from where it is: a bug of ours."""

    def __init__(self, old: TrialState, new: TrialState) -> None:
        self.old, self.new = old, new
        valid = ", ".join(sorted(TRANSITIONS[old])) or "none, the state is final"
        super().__init__(f"a trial cannot go from {old} to {new} (valid: {valid})")

    def __reduce__(self) -> tuple[type[IllegalTransition], tuple[TrialState, TrialState]]:
        return type(self), (self.old, self.new)


def advance(old: TrialState, new: TrialState) -> TrialState:
    """Return `new`; raises `IllegalTransition` when it cannot be reached from `old`."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(old, new)
    return new
