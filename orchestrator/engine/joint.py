"""One outcome of a trial from those of its ranks."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.decide.states import TrialState
from orchestrator.engine.messages import Outcome


def joint_outcome(outcomes: dict[int, Outcome]) -> Outcome:
    """The trial's outcome: that of the rank that left first with the worst one (later ones follow from it),
    with rank 0's length and value, and every rank's leftovers."""
    severity = [
        TrialState.DONE,
        TrialState.STOPPED,
        TrialState.SKIPPED,
        TrialState.CANCELLED,
        TrialState.DIVERGED,
        TrialState.FAILED,
    ]
    worst = max(
        outcomes, key=lambda rank: (not outcomes[rank].secondary, severity.index(outcomes[rank].state))
    )
    chosen, lead = outcomes[worst], outcomes.get(0, outcomes[worst])
    leftovers = tuple(
        f"rank {rank}: {what}" if len(outcomes) > 1 else what
        for rank in sorted(outcomes)
        for what in outcomes[rank].recycle
    )
    return replace(
        chosen,
        length=lead.length,
        value=lead.value,
        reports=lead.reports,
        time_s=lead.time_s,
        recycle=leftovers,
    )
