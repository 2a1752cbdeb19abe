"""What has gone wrong on the way of a study, and how it went on: attempts that failed, resumes, nodes.

Follows the journal line by line, so that the next look costs what is new; what it keeps is bounded, but for
one entry for every trial that runs.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from orchestrator.decide.faults import FaultKind, fault_of
from orchestrator.record import events
from orchestrator.record.events import AttemptFailed, Noted, Started, StudyStarted, TrialEnd
from orchestrator.record.journal import Line

_START = re.compile(rb'"event": ?"start"')
OF_INCIDENTS = re.compile(rb'"event": ?"(?:start|plan|failure|note)"')
"""Words of the lines that tell of them."""
_RESUMED, _CELL = re.compile(rb'"resume": ?\d'), re.compile(rb'"cell": ?"([0-9a-f]{12})"')
LATEST = 8
_OF_NODES = ("node ",)
_LOST = " is lost"


@dataclass(frozen=True)
class FailedAttempt:
    """One that failed, and what came of it.

    `again`: the trial was to be tried again; `went_on`: whether its next attempt has started; `step`: of the
    checkpoint that this one went on from, None: it began anew.
    """

    t: float
    cell: str
    attempt: int
    kind: FaultKind
    message: str
    node: str | None
    again: bool
    went_on: bool = False
    step: int | None = None


@dataclass(frozen=True)
class AttemptBegun:
    """An attempt that is under way: when its workers took it, on which lane, from which step on."""

    t: float
    attempt: int
    lane: str
    step: int | None


@dataclass(frozen=True)
class Incidents:
    """What there was up to one moment.

    `began`: when the last driver started; `failed`, `again`: attempts by kind of failure, and those of them
    that were to be tried again; `latest`: the last ones, the newest first; `resumed`: attempts that went on
    from a checkpoint; `under_way`: by cell; `nodes`: (time, words) of what became of nodes, the newest
    first; `nodes_lost`: how many were.
    """

    began: float | None = None
    failed: Mapping[FaultKind, int] = field(default_factory=dict)
    again: Mapping[FaultKind, int] = field(default_factory=dict)
    latest: tuple[FailedAttempt, ...] = ()
    resumed: int = 0
    under_way: Mapping[str, AttemptBegun] = field(default_factory=dict)
    nodes: tuple[tuple[float, str], ...] = ()
    nodes_lost: int = 0


def counts_for(running: Container[str]) -> Callable[[bytes], bool]:
    """Return what tells of a line with the words `OF_INCIDENTS` whether a reader has to have it.

    Of attempts that have started these are the ones that went on from a checkpoint, and those of the cells
    that are `running`; most lines of a long journal need not be decoded.
    """

    def counts(text: bytes) -> bool:
        if _START.search(text) is None:
            return True
        cell = _CELL.search(text)
        return _RESUMED.search(text) is not None or (cell is not None and cell[1].decode() in running)

    return counts


class IncidentReader:
    """Takes lines in the journal's order."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._failed: Counter[FaultKind] = Counter()
        self._again: Counter[FaultKind] = Counter()
        self._latest: deque[FailedAttempt] = deque(maxlen=LATEST)
        self._resumed = self._nodes_lost = 0
        self._under_way: dict[str, AttemptBegun] = {}
        self._nodes: deque[tuple[float, str]] = deque(maxlen=LATEST)

    def take(self, lines: Iterable[Line]) -> None:
        """Take what is new."""
        for line in lines:
            self._take(line.t, line.event)

    def _take(self, t: float, event: events.Event | events.Unreadable) -> None:
        match event:
            case StudyStarted():
                self._began = t
                self._under_way.clear()
            case Started(cell=cell, attempt=attempt, lane=lane, resume=step):
                self._under_way[cell] = AttemptBegun(t, attempt, lane, step)
                self._resumed += step is not None
                self._note_next(cell, attempt, step)
            case AttemptFailed():
                self._under_way.pop(event.cell, None)
                self._fail(t, event)
            case TrialEnd(cell=cell):
                self._under_way.pop(cell, None)
            case Noted(text=text) if text.startswith(_OF_NODES):
                self._nodes.appendleft((t, text))
                self._nodes_lost += text.endswith(_LOST)

    def _fail(self, t: float, event: AttemptFailed) -> None:
        kind = FaultKind.PREEMPTED if event.preempted else event.fault or fault_of(event.cause)
        self._failed[kind] += 1
        self._again[kind] += event.again
        where = event.node
        self._latest.appendleft(
            FailedAttempt(t, event.cell, event.attempt, kind, event.message, where, event.again)
        )

    def _note_next(self, cell: str, attempt: int, step: int | None) -> None:
        for place, failed in enumerate(self._latest):
            if failed.cell == cell and failed.attempt < attempt and not failed.went_on:
                self._latest[place] = replace(failed, went_on=True, step=step)

    def incidents(self) -> Incidents:
        """Return what there was so far."""
        return Incidents(
            self._began,
            MappingProxyType(dict(self._failed)),
            MappingProxyType(dict(self._again)),
            tuple(self._latest),
            self._resumed,
            MappingProxyType(dict(self._under_way)),
            tuple(self._nodes),
            self._nodes_lost,
        )
