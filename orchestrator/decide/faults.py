"""What can go wrong with an attempt, told apart: whose fault it is, and whether the trial runs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.decide.states import Cause


class FaultKind(StrEnum):
    """The kind of a failure. The first four are outcomes of the arm, the others are not."""

    EXCEPTION = "exception"
    OUT_OF_MEMORY = "out of memory"
    SHORT = "short"
    HOST_MEMORY = "host memory"
    HANG = "hang"
    WORKER_KILLED = "worker killed"
    NODE_LOST = "node lost"
    PREEMPTED = "preempted"
    CONNECTION = "connection"  # a collective broke and no rank explains it
    CHECKPOINT = "checkpoint"  # the one that it was to go on from cannot be loaded
    STORAGE = "storage"
    DISK_FULL = "disk full"
    MOVED = "moved"  # we took the trial away from its workers
    UNKNOWN = "unknown"

    @property
    def cause(self) -> Cause:
        """What a cell that ends with this fault is said to have failed of."""
        return _CAUSES.get(self, Cause.INFRA)

    @property
    def retried(self) -> bool:
        """Whether the same cell is run again by itself.

        Memory of a host is shared by all that runs there, so one trial's end says little about its arm.
        """
        return self.cause in (Cause.HANG, Cause.INFRA) or self is FaultKind.HOST_MEMORY

    @property
    def counts(self) -> bool:
        """Whether it uses up a retry.

        What was announced, or was our own doing, does not, and each checkpoint can fail once only.
        """
        return self.retried and self not in (FaultKind.PREEMPTED, FaultKind.MOVED, FaultKind.CHECKPOINT)

    @property
    def speaks_against_node(self) -> bool:
        """Whether several of these on one node mean that something is wrong with that node."""
        return self in _OF_A_NODE


_CAUSES = {
    FaultKind.EXCEPTION: Cause.USER,
    FaultKind.OUT_OF_MEMORY: Cause.OOM,
    FaultKind.HOST_MEMORY: Cause.OOM,
    FaultKind.SHORT: Cause.SHORT,
    FaultKind.HANG: Cause.HANG,
}
_OF_A_NODE = (
    *(FaultKind.WORKER_KILLED, FaultKind.HANG, FaultKind.CONNECTION),
    *(FaultKind.STORAGE, FaultKind.DISK_FULL, FaultKind.UNKNOWN),
)


def fault_of(cause: Cause) -> FaultKind:
    """Return the kind of a failure of which only the cause is known."""
    return next((kind for kind, of in _CAUSES.items() if of is cause), FaultKind.UNKNOWN)


@dataclass(frozen=True)
class RankEnd:
    """What is known of one rank of a lost worker group. `fault` None: it lived, or we ended it ourselves."""

    rank: int
    node: str
    fault: FaultKind | None


@dataclass(frozen=True)
class GroupEnd:
    """Why a worker group was lost: the fault and the nodes that it came from."""

    fault: FaultKind
    nodes: tuple[str, ...]
    ranks: tuple[int, ...] = ()


# Which rank's end explains the others': a node that goes takes its workers with it.
_FIRST = (FaultKind.PREEMPTED, FaultKind.NODE_LOST, FaultKind.HOST_MEMORY, FaultKind.WORKER_KILLED)


def why_lost(ends: Sequence[RankEnd]) -> GroupEnd:
    """Return the fault that explains the end of a group; when no rank has one, all of its nodes are named."""
    for fault in _FIRST:
        found = [end for end in ends if end.fault is fault]
        if found:
            return GroupEnd(fault, _nodes(found), tuple(sorted(end.rank for end in found)))
    return GroupEnd(FaultKind.UNKNOWN, _nodes(ends))


def _nodes(ends: Sequence[RankEnd]) -> tuple[str, ...]:
    return tuple(sorted({end.node for end in ends}))


@dataclass(frozen=True)
class RetryDecision:
    """Whether the same cell starts again from its latest checkpoint, and why."""

    again: bool
    reason: str


def retry(fault: FaultKind, counted_since_progress: int, max_retries: int) -> RetryDecision:
    """Decide after a failure.

    `counted_since_progress`: the faults that count (`FaultKind.counts`), this one included, since the trial's
    last new complete checkpoint: who makes progress may go on for ever. What the user's code does would
    happen again and is a finding of the arm.
    """
    if not fault.retried:
        return RetryDecision(False, "an outcome of the arm, not tried again by itself")
    if not fault.counts:
        return RetryDecision(True, f"{fault}: does not count as a retry")
    used = f"{counted_since_progress} of {max_retries} retries since the last checkpoint"
    if counted_since_progress <= max_retries:
        return RetryDecision(True, used)
    return RetryDecision(False, f"all {max_retries} retries since the last checkpoint are used")
