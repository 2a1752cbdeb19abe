"""What can be made to go wrong in a study of one process, and when."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from orchestrator.decide.faults import FaultKind
from orchestrator.engine.messages import Assignment

What = Literal["worker killed", "group lost", "hang", "slot lost", "node lost", "slow", "driver killed"]

LOSES_ITS_GROUP = {"worker killed": FaultKind.WORKER_KILLED, "group lost": FaultKind.UNKNOWN}
A_LOOK_S = 0.5


class DriverKilled(Exception):
    """The driver died at the point that a fault named; the record is as it was."""


@dataclass(frozen=True)
class PlantedFault:
    """One thing that goes wrong, once, when a rank comes to its report `at` (from 1, over all attempts).

    `what` is done before the report counts. `arm`, `seed` and `attempt` choose the trial; None: any.
    """

    what: What
    at: int = 1
    arm: str | None = None
    seed: int | None = None
    attempt: int | None = 1
    rank: int = 0
    seconds: float = 0.0
    """How long a slow worker takes."""

    def meets(self, assignment: Assignment, rank: int, report: int) -> bool:
        """Whether this is its place."""
        return (
            (self.rank, self.at) == (rank, report)
            and self.arm in (None, assignment.arm)
            and self.seed in (None, assignment.seed)
            and self.attempt in (None, assignment.attempt)
        )


class Faults:
    """The faults of a study, each of which happens once. Thread-safe."""

    def __init__(self, *faults: PlantedFault) -> None:
        self._left, self._lock = list(faults), threading.Lock()
        self._hanging, self._now = 0, 0.0

    def due(self, assignment: Assignment, rank: int, report: int) -> list[PlantedFault]:
        """Those whose place this is."""
        with self._lock:
            found = [fault for fault in self._left if fault.meets(assignment, rank, report)]
            self._left = [fault for fault in self._left if fault not in found]
        return found

    def hang(self, killed: threading.Event) -> None:
        """Do nothing until this worker is killed."""
        with self._lock:
            self._hanging += 1
        killed.wait()
        with self._lock:
            self._hanging -= 1

    def clock(self) -> float:
        """Seconds that pass only while a worker hangs, half a second with each look.

        A study whose conductor goes by it finds a hang at once. Trials beside the one that hangs may be taken
        to hang too: run one at a time where that matters.
        """
        with self._lock:
            self._now += A_LOOK_S if self._hanging else 0.0
            return self._now
