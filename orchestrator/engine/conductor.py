"""The conductor: the only place that changes the study's record while it runs. Knows neither Ray nor torch.

It hands out attempts, answers at rungs through `decide`, counts failures, watches silence and budgets, and
journals every step before the step takes effect. Its answers to events of the message actor are **actions**,
plain data that the driver carries out. One lock: Tune's thread and the event thread both come here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.decide.asha import RungReport, StoppingRule, decide
from orchestrator.decide.budget import budget_left
from orchestrator.decide.retry import retry
from orchestrator.decide.states import Cause, TrialState, advance
from orchestrator.engine import entries, view
from orchestrator.engine.actions import Action, Reassign, Recycle, StopRequest, StopTrial
from orchestrator.engine.live import LiveCell
from orchestrator.engine.messages import (
    CONTINUE,
    Answer,
    Assignment,
    CheckpointKept,
    DriverEvent,
    EntrypointFailed,
    GroupLost,
    LaneUp,
    Outcome,
    RungReached,
    TrialEnded,
    TrialProgress,
    TrialStarted,
    WorkerFailed,
)
from orchestrator.engine.seedcheck import SeedCheck
from orchestrator.engine.silence import Silence
from orchestrator.engine.snapshot import Snapshot
from orchestrator.errors import ClusterUnavailable, ExitCode, Fault, StudyError
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.study.cells import Plan, trial_config
from orchestrator.study.spec import StudySpec

WORKER_STARTS = 3  # how often a group may fail to start before the study gives up

# The last reports of a trial travel beside Tune: how long its end waits for them.
CATCH_UP_S = 5.0


class Conductor:
    """See the module's text.

    Args:
        record: the opened study record (lease held).
        gpus_per_trial: for the GPU seconds.
        retry_failed: also run cells again that failed by their own fault.
        clock: seconds, monotonic.
        code_changed: this run accepted changed code: ends are marked with it.
    """

    def __init__(
        self,
        record: StudyRecord,
        spec: StudySpec,
        plan: Plan,
        *,
        rule: StoppingRule,
        gpus_per_trial: float,
        retry_failed: bool = False,
        code_changed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record, self.spec, self.plan, self.rule = record, spec, plan, rule
        self.gpus_per_trial, self.code_changed, self.clock = gpus_per_trial, code_changed, clock
        self.lock = threading.RLock()
        self.started_at = clock()
        self.wanted_lanes = 0
        self.stop: StopRequest | None = None
        self.silence = Silence(spec.failures.report_timeout)
        self.notes: deque[str] = deque(maxlen=200)
        self._unseen: list[str] = []
        history = record.history
        self.table: dict[float, dict[str, float]] = {
            rung: dict(scores) for rung, scores in history.rung_table.items()
        }
        self.cells = {cell.cell: LiveCell.of(cell, history.cells[cell.cell]) for cell in plan.cells}
        self._live_cells: dict[str, LiveCell] = {}  # those that run: looked at in every step of Tune
        self._given_up: set[tuple[str, int]] = set()
        self._assignments: dict[int, tuple[str, int]] = {}  # by ticket
        self._tickets: dict[str, int] = {}  # by cell: the ticket that counts
        self._taken = 0
        self._worker_failures = 0  # in a row
        self._caught_up = threading.Condition(self.lock)
        self.seeds = SeedCheck(spec, plan)
        self._take_up_decisions()
        remaining = [cell for cell in history.remaining(retry_failed) if not self.cells[cell].state.answered]
        for cell_id in remaining:
            live = self.cells[cell_id]
            if live.state is TrialState.FAILED:
                live.retries = 0
            live.state = TrialState.PENDING
        self.ready: deque[str] = deque(remaining)
        self.done_before = len(plan.cells) - len(remaining)

    def _take_up_decisions(self) -> None:
        """Rungs are decided once, also when the trial did not live to hear of it."""
        for (cell_id, rung), made in self.record.history.decided.items():
            live = self.cells.get(cell_id)
            if live is None or live.state.answered:
                continue
            live.recorded.add(rung)
            if made.get("action") == "stop":
                live.verdict = Answer(True, TrialState(made["state"]), made.get("reason"))
        for live in self.cells.values():
            if live.verdict and live.state is TrialState.RUNNING:
                self._end_as_decided(live)

    # ---- what to run ------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Whether nothing is left to hand out, now or later."""
        with self.lock:
            return self.stop is not None or not (self.ready or self._running())

    def waiting(self) -> int:
        """How many cells wait for a lane."""
        with self.lock:
            return 0 if self.stop else len(self.ready)

    def next_assignment(self) -> tuple[int, Assignment] | None:
        """The next ticket and its attempt; None while the lanes are full or nothing is ready."""
        with self.lock:
            if self.stop or not self.ready or len(self._running()) >= self.wanted_lanes:
                return None
            live = self.cells[self.ready.popleft()]
            assignment = self._assign(live)
            ticket = len(self._assignments) + 1
            self._assignments[ticket] = (assignment.cell, assignment.attempt)
            self._tickets[assignment.cell] = ticket
            return ticket, assignment

    def _assign(self, live: LiveCell) -> Assignment:
        cell = live.cell
        if live.state is not TrialState.RUNNING:
            self._move(live, TrialState.RUNNING)
        live.attempts += 1
        live.assigned_at, live.cause, live.reason = self.clock(), None, None
        self._journal("assign", **entries.assign(live))
        self.record.journal.sync()
        return Assignment(
            cell=cell.cell,
            arm=cell.arm,
            seed=cell.seed,
            attempt=live.attempts,
            config=trial_config(self.plan, cell, self.spec),
            changes=dict(self.plan.arm(cell.arm).set),
            trial_dir=self.record.paths.trial_dir(cell.arm, cell.seed, cell.sample, cell.phase),
            decided=tuple(sorted(live.recorded)),
        )

    def _running(self) -> list[LiveCell]:
        return list(self._live_cells.values())

    def _move(self, live: LiveCell, state: TrialState) -> None:
        """The only way in which a cell changes its state."""
        live.state = advance(live.state, state)
        if state is TrialState.RUNNING:
            self._live_cells[live.cell.cell] = live
        else:
            self._live_cells.pop(live.cell.cell, None)

    # ---- Tune's side ------------------------------------------------------------------------------------

    def rung(self, event: RungReached) -> Answer:
        """Decide at a rung; the decision is on disk before the trial hears of it."""
        with self.lock:
            live = self._live(event.cell, event.attempt)
            if live is None:
                return Answer(True, None, "this attempt is no longer current")
            cell = live.cell
            report = RungReport(cell.cell, cell.arm, event.rung, event.length, event.score)
            decision = decide(self.rule, self.table, report, protected=cell.arm == self.plan.reference)
            self.table.setdefault(event.rung, {})[cell.cell] = event.score
            live.recorded.add(event.rung)
            live.length, live.value = event.length, event.value
            self._journal("report", **entries.report(live, event))
            self._journal("decision", **entries.decision(live, decision))
            self.record.journal.sync()
            if decision.action == "stop":
                live.verdict = Answer(True, decision.state, decision.reason)
                return live.verdict
            return self._leave() if self.stop else CONTINUE

    def ended(self, event: TrialEnded) -> None:
        """A trial ended on all of its ranks. Waits until all that happened before it is taken in."""
        with self.lock:
            self._caught_up.wait_for(lambda: self._taken >= event.events_before, CATCH_UP_S)
            live = self._live(event.cell, event.attempt)
            if live is None:
                return
            outcome = event.outcome
            if live.assigned_at is not None:
                self._spend(live, event.wall_s)
            for what in outcome.recycle:
                self._note(f"{live.name}: fresh workers on {event.lane}: {what}")
            if live.verdict:
                self._end_as_decided(live, event.lane)
                return
            live.length, live.value = outcome.length, outcome.value
            if outcome.state is TrialState.FAILED and (event.cell, event.attempt) not in self._given_up:
                cause = outcome.cause or Cause.INFRA
                if self._failed(live, cause, outcome.reason or outcome.error or "unknown", None):
                    self._put_back(live)
                    return
            self._end(live, outcome.state, outcome.cause, outcome.reason, event.lane)

    def actor_lost(self, ticket: int) -> None:
        """The trial actor of an attempt died: its lane is gone, the cell goes to another one."""
        with self.lock:
            cell, attempt = self._assignments[ticket]
            live = self._live(cell, attempt, any_attempt=True)
            if live is None or self._tickets[cell] != ticket:
                return
            self._spend(live)
            if live.verdict:
                self._end_as_decided(live)
            elif self._failed(live, Cause.INFRA, "the trial actor died", None):
                self._put_back(live)
            else:
                self._end(live, TrialState.FAILED, Cause.INFRA, "the trial actor died", live.lane)

    def _put_back(self, live: LiveCell) -> None:
        self._move(live, TrialState.PENDING)
        live.lane = None
        self.ready.appendleft(live.cell.cell)

    # ---- the message actor's side -----------------------------------------------------------------------

    def take(self, events: Iterable[DriverEvent]) -> list[Action]:
        """Take in what happened; returns what has to be done about it."""
        actions: list[Action] = []
        with self.lock:
            for event in events:
                actions += self._take_one(event)
                self._taken += 1
            self.record.journal.sync()
            self._caught_up.notify_all()
        return actions

    def _take_one(self, event: DriverEvent) -> list[Action]:
        if isinstance(event, LaneUp):
            self._worker_failures = 0
            return []
        if isinstance(event, WorkerFailed):
            self._worker_failed(event)
            return []
        if isinstance(event, EntrypointFailed):
            fault = Fault(f"the entrypoint does not import on a worker: {event.message}", field="entrypoint")
            self.request_stop(StopRequest(fault.message, ExitCode.BAD_INPUT, StudyError(fault)))
            return []
        live = self._live(event.cell, event.attempt)
        if live is None:
            return []
        live.lane = event.lane
        if isinstance(event, TrialProgress):
            self._progress(live, event)
        elif isinstance(event, CheckpointKept):
            live.retries = 0
            self._journal("checkpoint", **entries.checkpoint(event))
        elif isinstance(event, GroupLost):
            return self._group_lost(live, event)
        elif isinstance(event, TrialStarted):
            resumed = event.resumed_step is not None
            self.silence.started((event.cell, event.attempt), self.clock(), resumed=resumed)
            if resumed:
                self._note(f"{live.name}: attempt {event.attempt} goes on from step {event.resumed_step}")
        return []

    def _worker_failed(self, event: WorkerFailed) -> None:
        """Workers that never come up would be started again for ever."""
        self._worker_failures += 1
        self._note(f"a worker of {event.lane} could not start: {_last_line(event.message)}")
        if self._worker_failures >= self.spec.resources.workers * WORKER_STARTS:
            reason = f"workers cannot start:\n{event.message}"
            self.request_stop(StopRequest(reason, ExitCode.UNAVAILABLE, ClusterUnavailable(reason)))

    def _progress(self, live: LiveCell, event: TrialProgress) -> None:
        last = event.reports[-1]
        self.silence.reported((event.cell, event.attempt), self.clock(), len(event.reports))
        live.length, live.value = last.length, last.value
        self.seeds.take(event)
        self._check_seed()

    def _check_seed(self) -> None:
        fault = None if self.stop else self.seeds.fault({c: live.state for c, live in self.cells.items()})
        if fault is not None:
            self.request_stop(StopRequest(fault.message, ExitCode.BAD_INPUT, StudyError(fault)))

    def _group_lost(self, live: LiveCell, event: GroupLost) -> list[Action]:
        key = (event.cell, event.attempt)
        cause = Cause.HANG if self.silence.hangs(key) else Cause.INFRA
        self._spend(live)
        so_far: dict[str, Any] = {"length": live.length, "value": live.value}
        if live.verdict:
            assert live.verdict.state is not None
            return [Reassign(event.lane, None, Outcome(live.verdict.state, **so_far))]
        if self.stop:
            cancelled = Outcome(TrialState.CANCELLED, reason=self.stop.reason, **so_far)
            return [Reassign(event.lane, None, cancelled)]
        if self._failed(live, cause, event.message, ", ".join(event.nodes)):
            return [Reassign(event.lane, self._assign(live))]
        self._given_up.add(key)
        return [Reassign(event.lane, None, Outcome(TrialState.FAILED, cause, event.message, **so_far))]

    # ---- time -------------------------------------------------------------------------------------------

    def tick(self) -> list[Action]:
        """Look at the clock: silent trials, spent budgets."""
        with self.lock:
            now, actions, running = self.clock(), list[Action](), self._running()
            overdue = self.silence.overdue(((live.cell.cell, live.attempts) for live in running), now)
            for (cell, attempt), words in overdue.items():
                lane = self.cells[cell].lane
                if lane is not None:
                    actions.append(Recycle(lane, cell, attempt, words))
            verdict = budget_left(self.spec.budget, now - self.started_at, self._spent_gpu_s())
            if verdict.exceeded and not self.stop and (self.ready or running):
                self.request_stop(StopRequest(verdict.reason or "budget reached", ExitCode.BUDGET))
            return actions

    def request_stop(self, request: StopRequest) -> None:
        """Hand out nothing more; running trials leave at their next report (`leave_actions`)."""
        with self.lock:
            if self.stop is None:
                self.stop = request
                self._note(request.reason)
                self._journal("note", text=request.reason)
                self.record.journal.sync()

    def leave_actions(self) -> list[Action]:
        """Tell every running trial to leave."""
        with self.lock:
            if self.stop is None:
                return []
            return [StopTrial(live.cell.cell, live.attempts, self._leave()) for live in self._running()]

    def give_up_waiting(self) -> None:
        """Trials that did not leave in time are cancelled; they go on from their checkpoints next time."""
        with self.lock:
            reason = self.stop.reason if self.stop else "stopped"
            for live in self._running():
                self._spend(live)
                if live.verdict:
                    self._end_as_decided(live, live.lane)
                else:
                    self._end(live, TrialState.CANCELLED, None, reason, live.lane)

    # ---- the record -------------------------------------------------------------------------------------

    def _failed(self, live: LiveCell, cause: Cause, message: str, node: str | None) -> bool:
        """Journal a failure; returns whether the cell is tried again."""
        if cause in (Cause.HANG, Cause.INFRA):
            live.retries += 1
        verdict = retry(cause, live.retries, self.spec.failures.max_retries)
        again = verdict.again and self.stop is None
        entry = entries.failure(live, cause, message, again=again, node=node, gpus=self.gpus_per_trial)
        self._journal("failure", **entry)
        self.record.journal.sync()
        self._note(
            f"{live.name}: {cause}: {_last_line(message)}; {'tried again' if again else verdict.reason}"
        )
        return again

    def _end(
        self, live: LiveCell, state: TrialState, cause: Cause | None, reason: str | None, lane: str | None
    ) -> None:
        self._move(live, state)
        live.cause, live.reason, live.lane = cause, reason, None
        entry = entries.end(live, lane, code_changed=self.code_changed, gpus=self.gpus_per_trial)
        self._journal("end", **entry)
        self.record.journal.sync()
        self._check_seed()

    def _end_as_decided(self, live: LiveCell, lane: str | None = None) -> None:
        """A recorded stop is the cell's end, whatever became of the trial before it could leave."""
        assert live.verdict is not None
        assert live.verdict.state is not None
        self._end(live, live.verdict.state, None, live.verdict.reason, lane)

    def _journal(self, event: str, **fields: Any) -> None:
        self.record.journal.append(event, **fields)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self._unseen.append(text)

    def new_notes(self) -> list[str]:
        """What happened since the last call and is worth a line."""
        with self.lock:
            unseen, self._unseen = self._unseen, []
            return unseen

    def _live(self, cell: str, attempt: int, any_attempt: bool = False) -> LiveCell | None:
        live = self.cells.get(cell)
        if (
            live is None
            or live.state is not TrialState.RUNNING
            or (live.attempts != attempt and not any_attempt)
        ):
            return None
        return live

    def _leave(self) -> Answer:
        assert self.stop is not None
        return Answer(True, TrialState.CANCELLED, self.stop.reason)

    def _spend(self, live: LiveCell, wall_s: float | None = None) -> None:
        spent = live.since_assigned(self.clock()) if wall_s is None else wall_s
        live.spend(spent, self.gpus_per_trial)

    def _spent_gpu_s(self) -> float:
        ended = sum(live.gpu_s for live in self.cells.values())
        return ended + sum(
            live.since_assigned(self.clock()) * self.gpus_per_trial for live in self._running()
        )

    # ---- what people see --------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Cells per state."""
        with self.lock:
            found = dict.fromkeys((str(state) for state in TrialState), 0)
            for live in self.cells.values():
                found[str(live.state)] += 1
            return found

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
            return view.progress(self._running())

    def snapshot(self) -> Snapshot:
        """The live table's data."""
        with self.lock:
            times = view.Times(
                self.clock() - self.started_at, self._spent_gpu_s(), len(self.ready), self.done_before
            )
            return view.snapshot(
                self.spec,
                self.plan,
                list(self.cells.values()),
                times,
                self.wanted_lanes,
                tuple(self.notes)[-5:],
            )


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else text
