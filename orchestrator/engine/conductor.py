"""The conductor: the only place that changes the study's record while it runs. Knows neither Ray nor torch.

It hands out attempts, answers at rungs through `decide`, counts failures, watches silence and budgets, and
journals every step before the step takes effect; when it cannot, the study stops. Its answers to events of
the message actor are **actions**, plain data that the driver carries out. One lock: Tune's thread and the
event thread both come here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from orchestrator.decide.budget import budget_left
from orchestrator.decide.faults import fault_of
from orchestrator.decide.rungs import RungReport
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine import entries, view
from orchestrator.engine.actions import Action, Recycle, StopRequest, StopTrial
from orchestrator.engine.capacity import Node, bundles
from orchestrator.engine.ends import Ends
from orchestrator.engine.live import LiveCell
from orchestrator.engine.losses import Losses
from orchestrator.engine.messages import (
    CONTINUE,
    Answer,
    Assignment,
    CheckpointKept,
    DriverEvent,
    EntrypointFailed,
    GroupLost,
    LaneUp,
    RungReached,
    TrialEnded,
    TrialProgress,
    TrialStarted,
    WorkerFailed,
)
from orchestrator.engine.notes import Notes
from orchestrator.engine.placement import Placement
from orchestrator.engine.roster import Roster
from orchestrator.engine.scores import Scores
from orchestrator.engine.silence import Silence
from orchestrator.engine.snapshot import Snapshot
from orchestrator.engine.stopping import Stopping
from orchestrator.errors import ExitCode, Fault, StorageUnavailable, StudyError, StudyHeld
from orchestrator.record.events import Noted
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.study.cells import Plan, trial_config
from orchestrator.study.spec import StudySpec


class Conductor:
    """See the module's text.

    Args:
        record: the opened study record (lease held).
        gpus_per_worker: what one worker holds.
        retry_failed: also run cells again that failed by their own fault.
        clock: seconds, monotonic.
        code_changed: this run accepted changed code: ends are marked with it.
    """

    def __init__(
        self,
        record: StudyRecord,
        spec: StudySpec,
        *,
        gpus_per_worker: float,
        retry_failed: bool = False,
        code_changed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record, self.spec = record, spec
        self.gpus_per_worker, self.clock = gpus_per_worker, clock
        self.lock = threading.RLock()
        self.started_at = clock()
        self.wanted_lanes = 0
        self.silence = Silence(spec.failures.report_timeout)
        self.notes = Notes()
        self._handed: dict[str, tuple[str, int]] = {}  # by cell: the attempt that was last handed out
        self.stopping = Stopping(record, self.notes)
        self.placement = Placement(spec.resources, gpus_per_worker, self._write_note)
        self.roster = Roster(spec, record, self.notes.add, retry_failed=retry_failed)
        self.scores = Scores(spec, record.state)
        self.ends = Ends(
            spec,
            record,
            self.roster,
            self.placement,
            self.notes,
            self.stopping,
            gpus=gpus_per_worker * spec.resources.workers,
            clock=clock,
            code_changed=code_changed,
        )
        self._losses = Losses(
            spec.resources,
            self.roster,
            self.placement,
            self.notes,
            self.stopping,
            self.ends,
            self.silence,
            self._assign,
        )
        self._take_up_decisions()
        self.roster.take_up()
        self.ends.seeds.grow(self.plan)
        record.sync()
        self.done_before = sum(live.state.terminal for live in self.roster.cells.values())

    @property
    def stop(self) -> StopRequest | None:
        """Why the study stops, once it does."""
        return self.stopping.request

    @property
    def lost(self) -> StorageUnavailable | StudyHeld | None:
        """Why the record cannot be written any more."""
        return self.stopping.lost

    @property
    def plan(self) -> Plan:
        """The plan with all that results have added to it."""
        return self.roster.plan

    @property
    def cells(self) -> dict[str, LiveCell]:
        """Every cell of the plan."""
        return self.roster.cells

    def _take_up_decisions(self) -> None:
        """Rungs are decided once, also when the trial did not live to hear of it."""
        for cell_id, record in self.record.state.cells.items():
            live = self.cells[cell_id]
            if live.state.answered:
                continue
            live.recorded |= record.decisions.keys()
            if record.stop is not None:
                live.verdict = Answer(True, record.stop.state, record.stop.reason)
        for live in self.cells.values():
            if live.verdict and live.verdict.state and live.state is TrialState.RUNNING:
                self.ends.write(live, live.verdict.state, None, live.verdict.reason, None)

    # ---- what to run ------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Whether nothing is left to hand out, now or later."""
        with self.lock:
            return self.stop is not None or not (self.roster.running() or self.roster.waiting())

    def waiting(self) -> int:
        """How many cells wait for a lane."""
        with self.lock:
            return 0 if self.stop else self.roster.waiting()

    def idle_lanes(self) -> int:
        """How many lanes may stay up without a trial: a cell waits for each, and there is room for it.

        A trial that lost its workers counts as running: they come back where an idle lane makes room.
        """
        with self.lock:
            room = self.wanted_lanes - len(self.roster.running())
            return max(0, min(self.waiting(), room))

    def next_assignment(self) -> Assignment | None:
        """The next attempt; None while the lanes are full or nothing is ready."""
        with self.lock:
            if self.stop or len(self.roster.running()) >= self.wanted_lanes:
                return None
            live = self.roster.next()
            if live is None:
                return None
            with self.stopping.recording():
                assignment = self._assign(live)
                self._handed[assignment.cell] = assignment.key
                return assignment
            return None  # it could not be written down

    def _assign(self, live: LiveCell) -> Assignment:
        cell = live.cell
        if live.state is not TrialState.RUNNING:
            self.roster.move(live, TrialState.RUNNING)
        live.attempts += 1
        live.assigned_at, live.cause, live.reason = self.clock(), None, None
        self.record.append(entries.assign(live))
        self.record.sync()
        return Assignment(
            cell=cell.cell,
            arm=cell.arm,
            seed=cell.seed,
            attempt=live.attempts,
            config=trial_config(self.plan, cell, self.spec),
            changes={**self.plan.arm(cell.arm).set, **cell.set},
            trial_dir=self.record.paths.trial_dir(cell.arm, cell.seed, cell.sample, cell.phase),
            rungs=self.scores.competition(cell).rule.rungs,
            decided=tuple(sorted(live.recorded)),
        )

    def see(self, nodes: Sequence[Node]) -> list[dict[str, float]]:
        """Take in the cluster's nodes. Returns what the study could use, one bundle of resources a worker."""
        with self.lock:
            groups = 0 if self.stop else self.roster.waiting() + len(self.roster.running())
            with self.stopping.recording():
                self.wanted_lanes = self.placement.see(nodes, busy=groups > 0)
            return bundles(self.spec.resources, self.gpus_per_worker, groups)

    # ---- Tune's side ------------------------------------------------------------------------------------

    def rung(self, event: RungReached) -> Answer:
        """Decide at a rung; the decision is on disk before the trial hears of it."""
        with self.lock:
            live = self.roster.live(event.cell, event.attempt)
            if live is None:
                return Answer(True, None, "this attempt is no longer current")
            if self.lost is None:
                with self.stopping.recording():
                    return self._decide(live, event)
            return self.stopping.answer()

    def _decide(self, live: LiveCell, event: RungReached) -> Answer:
        cell = live.cell
        report = RungReport(cell.cell, cell.arm, event.rung, event.length, event.score)
        decision = self.scores.decide(cell, report)
        live.recorded.add(event.rung)
        live.length, live.value = event.length, event.value
        self.record.append(entries.report(live, event))
        self.record.append(entries.decision(live, decision))
        self.record.sync()
        if decision.action == "stop":
            live.verdict = Answer(True, decision.state, decision.reason)
            return live.verdict
        return self.stopping.answer() if self.stop else CONTINUE

    def ended(self, event: TrialEnded) -> None:
        """A trial ended on all of its ranks; what it said before is taken in."""
        with self.lock, self.stopping.recording():
            live = self.roster.live(event.cell, event.attempt)
            if live is None:
                return
            outcome = event.outcome
            if live.assigned_at is not None:
                self.ends.spend(live, event.wall_s)
            for what in outcome.recycle:
                self.notes.add(f"{live.name}: fresh workers on {event.lane}: {what}")
            if live.verdict:
                self.ends.as_decided(live, event.lane)
                return
            live.length, live.value = outcome.length, outcome.value
            if outcome.state is not TrialState.FAILED:
                self.placement.worked(event.lane)
            elif not self._losses.given_up(live):
                fault = outcome.fault or fault_of(outcome.cause or Cause.INFRA)
                message = outcome.reason or outcome.error or "unknown"
                if self.stop and fault.retried:
                    self.ends.end(live, TrialState.CANCELLED, None, self.stop.reason, event.lane)
                    return
                if self.ends.failed(live, fault, message, self.placement.nodes_of(event.lane)):
                    self.roster.put_back(live)
                    return
            self.ends.end(live, outcome.state, outcome.cause, outcome.reason, event.lane)

    def actor_lost(self, handed: tuple[str, int]) -> None:
        """The slot that got this attempt is gone; its cell goes to another one, or ends."""
        cell, _ = handed
        with self.lock, self.stopping.recording():
            live = self.roster.live(cell)
            if live is not None and self._handed.get(cell) == handed:
                self._losses.actor(live)

    # ---- the message actor's side -----------------------------------------------------------------------

    def take(self, events: Iterable[DriverEvent]) -> list[Action]:
        """Take in what happened; returns what has to be done about it."""
        actions: list[Action] = []
        with self.lock:
            for event in events:
                with self.stopping.recording():
                    actions += self._take_one(event)
            with self.stopping.recording():
                self.record.sync()
            return actions + self.ends.take_due()

    def _take_one(self, event: DriverEvent) -> list[Action]:
        if isinstance(event, LaneUp):
            self._losses.lane_up(event)
            return []
        if isinstance(event, WorkerFailed):
            return self._losses.worker(event)
        if isinstance(event, EntrypointFailed):
            fault = Fault(f"the entrypoint does not import on a worker: {event.message}", field="entrypoint")
            self.request_stop(StopRequest(fault.message, ExitCode.BAD_INPUT, StudyError(fault)))
            return []
        live = self.roster.live(event.cell, event.attempt)
        if live is None:
            return []
        live.lane = event.lane
        if isinstance(event, TrialProgress):
            self._progress(live, event)
        elif isinstance(event, CheckpointKept):
            live.retries = 0
            self.placement.worked(event.lane)
            self.record.append(entries.checkpoint(event))
        elif isinstance(event, GroupLost):
            return self._losses.group(live, event)
        elif isinstance(event, TrialStarted):
            resumed = event.resumed_step is not None
            self.record.append(entries.start(event))
            self.silence.started((event.cell, event.attempt), self.clock(), resumed=resumed)
            for what in event.passed_over:
                self.notes.add(f"{live.name}: a checkpoint cannot be used: {what}")
            if resumed:
                self.notes.add(f"{live.name}: attempt {event.attempt} goes on from step {event.resumed_step}")
        return []

    def _progress(self, live: LiveCell, event: TrialProgress) -> None:
        last = event.reports[-1]
        self.silence.reported((event.cell, event.attempt), self.clock(), len(event.reports))
        live.length, live.value = last.length, last.value
        self.ends.seeds.take(event)
        self.ends.check_seed()

    # ---- time -------------------------------------------------------------------------------------------

    def tick(self) -> list[Action]:
        """Look at the clock: silent trials, spent budgets."""
        with self.lock:
            now, actions, running = self.clock(), self.ends.take_due(), self.roster.running()
            overdue = self.silence.overdue(((live.cell.cell, live.attempts) for live in running), now)
            for (cell, attempt), words in overdue.items():
                lane = self.cells[cell].lane
                if lane is not None:
                    actions.append(Recycle(lane, cell, attempt, words))
            verdict = budget_left(self.spec.budget, now - self.started_at, self.ends.spent_gpu_s())
            if verdict.exceeded and not self.stop and (running or self.roster.waiting()):
                self.request_stop(StopRequest(verdict.reason or "budget reached", ExitCode.BUDGET))
            return actions

    def request_stop(self, request: StopRequest) -> None:
        """Hand out nothing more; running trials leave at their next report (`leave_actions`)."""
        with self.lock:
            self.stopping.ask(request)

    def storage_failed(self, error: StorageUnavailable | StudyHeld) -> None:
        """The record cannot be written any more: nothing new starts, and running trials leave."""
        with self.lock:
            self.stopping.storage_failed(error)

    def leave_actions(self) -> list[Action]:
        """Tell every running trial to leave."""
        with self.lock:
            if self.stop is None:
                return []
            return [
                StopTrial(live.cell.cell, live.attempts, self.stopping.answer())
                for live in self.roster.running()
            ]

    def give_up_waiting(self) -> None:
        """Trials that did not leave in time are cancelled; they go on from their checkpoints next time."""
        with self.lock:
            reason = self.stop.reason if self.stop else "stopped"
            for live in self.roster.running():
                self.ends.spend(live)
                with self.stopping.recording():
                    if live.verdict:
                        self.ends.as_decided(live, live.lane)
                    else:
                        self.ends.end(live, TrialState.CANCELLED, None, reason, live.lane)

    # ---- the record -------------------------------------------------------------------------------------

    def _write_note(self, text: str) -> None:
        """A line for people that is also kept."""
        self.notes.add(text)
        self.record.append(Noted(text))

    def new_notes(self) -> list[str]:
        """What happened since the last call and is worth a line."""
        with self.lock:
            return self.notes.unseen()

    # ---- what people see --------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Cells per state."""
        with self.lock:
            return view.counts(self.cells.values())

    def exit_code(self) -> ExitCode:
        """In the order of design §7: interrupted, unavailable, budget, failed, done."""
        with self.lock:
            if self.stop is not None:
                return self.stop.exit_code
            failed = any(not live.state.answered for live in self.cells.values())
            return ExitCode.FAILED if failed else ExitCode.DONE

    def progress(self) -> dict[str, Any]:
        """What `status` of another process may see between two rungs."""
        with self.lock:
            return view.progress(self.roster.running())

    def snapshot(self) -> Snapshot:
        """The live table's data."""
        with self.lock:
            times = view.Times(
                self.clock() - self.started_at,
                self.ends.spent_gpu_s(),
                self.roster.waiting(),
                self.done_before,
            )
            return view.snapshot(
                self.spec,
                self.plan,
                list(self.cells.values()),
                times,
                self.wanted_lanes,
                self.notes.latest(5),
            )
