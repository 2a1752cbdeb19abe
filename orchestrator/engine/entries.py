"""The journal's events, from what the conductor knows."""

from __future__ import annotations

from typing import Literal

from orchestrator.decide.agenda import Judged
from orchestrator.decide.faults import FaultKind
from orchestrator.decide.resolve import ArmLook
from orchestrator.decide.rungs import Decision
from orchestrator.engine.live import LiveCell
from orchestrator.engine.messages import CheckpointKept, RungReached, TrialStarted
from orchestrator.record import events


def assign(live: LiveCell) -> events.Assigned:
    """An attempt is handed out."""
    cell = live.cell
    return events.Assigned(cell.cell, cell.arm, cell.seed, live.attempts, live.lane, None)


def start(event: TrialStarted) -> events.Started:
    """Workers have taken the attempt, and are about to call the user's code."""
    return events.Started(event.cell, event.attempt, event.lane, event.devices, event.resumed_step)


def report(live: LiveCell, event: RungReached) -> events.Reported:
    """The report that a decision at a rung was made of."""
    return events.Reported(
        cell=live.cell.cell,
        arm=live.cell.arm,
        attempt=event.attempt,
        rung=event.rung,
        length=event.length,
        score=event.score,
        value=event.value,
        metrics=dict(event.metrics),
    )


def decision(live: LiveCell, made: Decision) -> events.Decided:
    """What was decided and everything that explains it."""
    return events.Decided(
        cell=live.cell.cell,
        action=made.action,
        state=made.state,
        rule=made.rule,
        rung=made.rung,
        cutoff=made.cutoff,
        rank=made.rank,
        peers=made.peers,
        reason=made.reason,
    )


def checkpoint(event: CheckpointKept) -> events.Checkpointed:
    """A checkpoint is complete."""
    return events.Checkpointed(event.cell, event.attempt, event.name, event.step, event.length, event.value)


def failure(
    live: LiveCell, fault: FaultKind, message: str, *, again: bool, node: str | None, gpus: float
) -> events.AttemptFailed:
    """An attempt failed; `gpus` is what it held."""
    return events.AttemptFailed(
        cell=live.cell.cell,
        attempt=live.attempts,
        cause=fault.cause,
        message=message,
        again=again,
        node=node,
        fault=fault,
        wall_s=(spent := live.unrecorded()),
        gpu_s=spent * gpus,
    )


def look(judged: Judged, seen: ArmLook, mode: Literal["max", "min"]) -> events.LookTaken:
    """What the sequential rule found about one arm; values in the user's units."""
    sign = 1.0 if mode == "max" else -1.0
    ends = [None if end is None else sign * end for end in (seen.lo, seen.hi)]
    lo, hi = ends if mode == "max" else reversed(ends)
    return events.LookTaken(
        phase=judged.evaluation.phase,
        family=judged.evaluation.family,
        arm=judged.arm(seen),
        number=seen.number,
        n=seen.n,
        action=seen.action,
        delta=None if seen.mean is None else sign * seen.mean,
        lo=lo,
        hi=hi,
        p=seen.p,
        level=seen.level,
        power=seen.power,
        seeds_needed=seen.seeds_needed,
    )


def end(live: LiveCell, lane: str | None, *, code_changed: bool, gpus: float) -> events.TrialEnd:
    """The cell has ended as its state says."""
    return events.TrialEnd(
        cell=live.cell.cell,
        arm=live.cell.arm,
        seed=live.cell.seed,
        attempt=live.attempts,
        state=live.state,
        cause=live.cause,
        reason=live.reason,
        length=live.length,
        value=live.value,
        wall_s=(spent := live.unrecorded()),
        gpu_s=spent * gpus,
        lane=lane,
        accepted_code_change=code_changed,
    )
