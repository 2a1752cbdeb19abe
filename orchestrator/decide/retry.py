"""Is a failed trial run again?"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.decide.states import Cause


@dataclass(frozen=True)
class RetryDecision:
    """Whether the same cell starts again from its latest checkpoint, and why."""

    again: bool
    reason: str


def retry(
    cause: Cause, infra_attempts_since_progress: int, max_retries: int, *, preempted: bool = False
) -> RetryDecision:
    """Decide after a failure.

    `infra_attempts_since_progress` counts the hangs and infrastructure failures, this one included and
    preemptions left out, since the trial's last new complete checkpoint: who makes progress may go on for
    ever. What the user's code does (`user`, `oom`, `short`) would happen again and is a finding of the arm.
    """
    if cause not in (Cause.HANG, Cause.INFRA):
        return RetryDecision(False, "an outcome of the arm, not tried again by itself")
    if preempted:
        return RetryDecision(True, "preempted: does not count as a retry")
    used = f"{infra_attempts_since_progress} of {max_retries} retries since the last checkpoint"
    if infra_attempts_since_progress <= max_retries:
        return RetryDecision(True, used)
    return RetryDecision(False, f"all {max_retries} retries since the last checkpoint are used")
