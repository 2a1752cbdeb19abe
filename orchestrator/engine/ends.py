"""How attempts end: failures that are tried again or not, the ends of cells, and what all of it has cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.decide.faults import FaultKind
from orchestrator.decide.retry import retry
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine import entries
from orchestrator.engine.actions import Action, StopRequest
from orchestrator.engine.live import LiveCell
from orchestrator.engine.notes import Notes, last_line
from orchestrator.engine.placement import Placement
from orchestrator.engine.roster import Roster
from orchestrator.engine.seedcheck import SeedCheck
from orchestrator.engine.stopping import Stopping
from orchestrator.errors import ExitCode, StudyError
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.study.spec import StudySpec


class Ends:
    """Writes down every end before it takes effect. Not thread-safe: the conductor's lock guards it.

    Args:
        gpus: what one trial holds.
        clock: seconds, monotonic.
        code_changed: this run accepted changed code: ends are marked with it.
    """

    def __init__(
        self,
        spec: StudySpec,
        record: StudyRecord,
        roster: Roster,
        placement: Placement,
        notes: Notes,
        stopping: Stopping,
        *,
        gpus: float,
        clock: Callable[[], float],
        code_changed: bool,
    ) -> None:
        self._record, self._roster, self._placement = record, roster, placement
        self._notes, self._stopping = notes, stopping
        self._max_retries = spec.failures.max_retries
        self._gpus, self._clock, self._code_changed = gpus, clock, code_changed
        self.seeds = SeedCheck(spec, roster.plan)
        self._due: list[Action] = []

    def take_due(self) -> list[Action]:
        """What ends have called for and nobody has carried out yet."""
        due, self._due = self._due, []
        return due

    def failed(self, live: LiveCell, fault: FaultKind, message: str, nodes: Sequence[str]) -> bool:
        """An attempt failed, on these nodes as far as is known; returns whether the cell is tried again."""
        live.retries += fault.counts
        verdict = retry(fault, live.retries, self._max_retries)
        again = verdict.again and self._stopping.request is None
        where = ", ".join(map(self._placement.name, nodes)) or None
        entry = entries.failure(live, fault, message, again=again, node=where, gpus=self._gpus)
        self._record.append(entry)
        self._record.sync()
        kind = fault.cause if fault in (FaultKind.EXCEPTION, FaultKind.UNKNOWN) else fault
        there = f" on {where}" if where and fault.speaks_against_node else ""
        what_now = "tried again" if again else verdict.reason
        self._notes.add(f"{live.name}: {kind}{there}: {last_line(message)}; {what_now}")
        aside = self._placement.failed(nodes, live.name, fault, live.lane)
        if aside is not None:
            self._due.append(aside)
        return again

    def end(
        self, live: LiveCell, state: TrialState, cause: Cause | None, reason: str | None, lane: str | None
    ) -> None:
        """The cell has its end: what follows from it is asked, and due."""
        self.write(live, state, cause, reason, lane)
        if self._stopping.request is None:
            known = len(self._roster.plan.cells)
            self._due += self._roster.proceed(live)
            if len(self._roster.plan.cells) > known:
                self.seeds.grow(self._roster.plan)
        self._record.sync()
        self.check_seed()

    def as_decided(self, live: LiveCell, lane: str | None = None) -> None:
        """A recorded stop is the cell's end, whatever became of the trial before it could leave."""
        assert live.verdict is not None
        assert live.verdict.state is not None
        self.end(live, live.verdict.state, None, live.verdict.reason, lane)

    def write(
        self, live: LiveCell, state: TrialState, cause: Cause | None, reason: str | None, lane: str | None
    ) -> None:
        """Write the end down, and nothing else."""
        self._roster.move(live, state)
        live.cause, live.reason, live.lane = cause, reason, None
        entry = entries.end(live, lane, code_changed=self._code_changed, gpus=self._gpus)
        self._record.append(entry)

    def check_seed(self) -> None:
        """Stop the study once it is known that the entrypoint ignores its seed."""
        if self._stopping.request is not None:
            return
        fault = self.seeds.fault({cell: live.state for cell, live in self._roster.cells.items()})
        if fault is not None:
            self._stopping.ask(StopRequest(fault.message, ExitCode.BAD_INPUT, StudyError(fault)))

    def spend(self, live: LiveCell, wall_s: float | None = None) -> None:
        """An attempt has taken `wall_s` seconds; None: those since it was handed out."""
        spent = live.since_assigned(self._clock()) if wall_s is None else wall_s
        live.spend(spent, self._gpus)

    def spent_gpu_s(self) -> float:
        """GPU seconds of the study, those of running attempts included."""
        now = self._clock()
        under_way = sum(live.since_assigned(now) for live in self._roster.running())
        return sum(live.gpu_s for live in self._roster.cells.values()) + under_way * self._gpus
