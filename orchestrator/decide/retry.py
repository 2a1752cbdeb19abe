"""Is a failed trial run again?"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.decide.faults import FaultKind


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
