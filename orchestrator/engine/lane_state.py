"""What the message actor knows: lanes, the trial of each, and the tickets that Tune has handed out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from orchestrator.engine.messages import Answer, Assignment, Attached, LaneEvent, Outcome


@dataclass
class LaneTrial:
    """The assignment that a lane works on."""

    assignment: Assignment
    since: float
    incarnation: str | None = None  # the worker group that took it
    answers: dict[int, asyncio.Future[Answer]] = field(default_factory=dict)  # by report
    asked: dict[int, int] = field(default_factory=dict)  # by report: ranks that have asked
    open: set[asyncio.Future[Answer]] = field(default_factory=set)  # asked by all, not yet settled
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    parts: dict[str, dict[int, dict[str, int]]] = field(default_factory=dict)
    complete: dict[str, asyncio.Event] = field(default_factory=dict)
    awaited: asyncio.Future[Answer] | None = None  # the rung decision that rank 0 waits for
    stop: Answer | None = None  # asked for from outside; takes effect at rank 0's next report
    lost: bool = False  # its worker group is gone; the driver says what comes next
    ended: bool = False

    @property
    def to_do(self) -> bool:
        """Neither ended nor lost."""
        return not (self.ended or self.lost)


@dataclass
class Ticket:
    """One attempt that Tune handed out, and the lane that Tune has put it on so far.

    Kept for the whole run: a trial actor that Tune has given up may come late.
    """

    assignment: asyncio.Future[Assignment]
    lane: str | None = None


@dataclass
class LaneState:
    """A worker group and what it works on. `incarnation` changes with every restart of the group."""

    world_size: int
    incarnation: str = ""
    ranks: dict[int, Attached] = field(default_factory=dict)
    trial: LaneTrial | None = None
    serial: int = 0
    closed: bool = False
    recycling: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    events: asyncio.Queue[LaneEvent] = field(default_factory=asyncio.Queue)
