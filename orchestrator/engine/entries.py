"""The fields of the journal's events, from what the conductor knows."""

from __future__ import annotations

from typing import Any, Literal

from orchestrator.decide.agenda import Judged
from orchestrator.decide.asha import Decision
from orchestrator.decide.faults import FaultKind
from orchestrator.decide.resolve import ArmLook
from orchestrator.engine.live import LiveCell
from orchestrator.engine.messages import CheckpointKept, RungReached, TrialStarted


def assign(live: LiveCell) -> dict[str, Any]:
    """An attempt is handed out."""
    return {**_who(live), "attempt": live.attempts, "lane": live.lane, "resume": None}


def start(event: TrialStarted) -> dict[str, Any]:
    """Workers have taken the attempt, and are about to call the user's code."""
    return {
        "cell": event.cell,
        "attempt": event.attempt,
        "lane": event.lane,
        "devices": list(event.devices),
        "resume": event.resumed_step,
    }


def report(live: LiveCell, event: RungReached) -> dict[str, Any]:
    """The report that a decision at a rung was made of."""
    return {
        "cell": live.cell.cell,
        "arm": live.cell.arm,
        "attempt": event.attempt,
        "rung": event.rung,
        "length": event.length,
        "score": event.score,
        "value": event.value,
        "metrics": dict(event.metrics),
    }


def decision(live: LiveCell, made: Decision) -> dict[str, Any]:
    """What was decided and everything that explains it."""
    return {
        "cell": live.cell.cell,
        "action": made.action,
        "state": made.state,
        "rule": made.rule,
        "rung": made.rung,
        "cutoff": made.cutoff,
        "rank": made.rank,
        "peers": made.peers,
        "reason": made.reason,
    }


def checkpoint(event: CheckpointKept) -> dict[str, Any]:
    """A checkpoint is complete."""
    return {
        "cell": event.cell,
        "attempt": event.attempt,
        "name": event.name,
        "step": event.step,
        "length": event.length,
        "value": event.value,
    }


def failure(
    live: LiveCell, fault: FaultKind, message: str, *, again: bool, node: str | None, gpus: float
) -> dict[str, Any]:
    """An attempt failed; `gpus` is what it held."""
    return {
        "cell": live.cell.cell,
        "attempt": live.attempts,
        "cause": fault.cause,
        "fault": fault,
        "message": message,
        "again": again,
        "node": node,
        **live.cost(gpus),
    }


def look(judged: Judged, seen: ArmLook, mode: Literal["max", "min"]) -> dict[str, Any]:
    """What the sequential rule found about one arm; values in the user's units."""
    sign = 1.0 if mode == "max" else -1.0
    ends = [None if end is None else sign * end for end in (seen.lo, seen.hi)]
    lo, hi = ends if mode == "max" else reversed(ends)
    return {
        "phase": judged.evaluation.phase,
        "family": judged.evaluation.family,
        "arm": judged.arm(seen),
        "number": seen.number,
        "n": seen.n,
        "action": seen.action,
        "delta": None if seen.mean is None else sign * seen.mean,
        "lo": lo,
        "hi": hi,
        "p": seen.p,
        "level": seen.level,
        "power": seen.power,
        "seeds_needed": seen.seeds_needed,
    }


def end(live: LiveCell, lane: str | None, *, code_changed: bool, gpus: float) -> dict[str, Any]:
    """The cell has ended as its state says."""
    marked = {"accepted_code_change": True} if code_changed else {}
    return {
        **_who(live),
        "attempt": live.attempts,
        "state": live.state,
        "cause": live.cause,
        "reason": live.reason,
        "length": live.length,
        "value": live.value,
        **live.cost(gpus),
        "lane": lane,
        **marked,
    }


def _who(live: LiveCell) -> dict[str, Any]:
    return {"cell": live.cell.cell, "arm": live.cell.arm, "seed": live.cell.seed}
