"""The conductor: the only place that changes the study's record while it runs. Knows neither Ray nor torch.

It hands out attempts, answers at rungs through `decide`, watches silence and budgets, and journals every step
before the step takes effect; when it cannot, the study stops. What it wants done are **actions**, plain data
that a runtime carries out. One lock: the runtime's thread and the one beside it both come here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any

from orchestrator.decide.budget import budget_reached
from orchestrator.decide.rungs import RungReport, decide
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import Competition, competition, shortest
from orchestrator.decide.timeleft import TimeLeft, Timings, reach, time_left
from orchestrator.engine import status
from orchestrator.engine.capacity import ClusterPart, Node, bundles
from orchestrator.engine.conduct._failurepolicy import FailurePolicy
from orchestrator.engine.conduct._hangs import HangDetector
from orchestrator.engine.conduct._placement import Placement
from orchestrator.engine.conduct._probes import Probes
from orchestrator.engine.conduct._runlog import RunLog
from orchestrator.engine.conduct._trialqueue import LiveTrial, TrialQueue
from orchestrator.engine.messages import (
    CONTINUE,
    Action,
    Answer,
    Assignment,
    CheckpointKept,
    DriverEvent,
    EntrypointFailed,
    GroupLost,
    LaneUp,
    NodeUse,
    RanksWait,
    Recycle,
    RungReached,
    SpansTold,
    StopRequest,
    StopTrial,
    TrialEnded,
    TrialProgress,
    TrialStarted,
    TrialTells,
    WorkerFailed,
)
from orchestrator.errors import ExitCode, Fault, StorageUnavailable, StudyError, StudyHeld
from orchestrator.record.events import Assigned, Checkpointed, Decided, Reported, Started
from orchestrator.record.state import TrialRecord
from orchestrator.record.studyrecord import StudyRecord
from orchestrator.study.cells import TUNE, Cell, Plan, trial_config
from orchestrator.study.spec import StudySpec

LEFT_EVERY_S = 2.0
"""How long the time left, as it was told last, is good enough."""


class Conductor:
    """Drives one run of a study. Thread-safe.

    `retry_failed`: also run cells again that failed by their own fault; `only`: run these cells and no
    others; `probes`: the other trials wait for the first reports of the first ones; `clock`: seconds,
    monotonic.
    """

    def __init__(
        self,
        record: StudyRecord,
        spec: StudySpec,
        *,
        gpus_per_worker: float,
        retry_failed: bool = False,
        only: Collection[str] = (),
        probes: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record, self.spec, self.clock = record, spec, clock
        self.lock = threading.RLock()
        self.wanted_lanes = 0
        self._gpus_per_worker, self._started_at = gpus_per_worker, clock()
        self._log = RunLog(record)
        self._hangs = HangDetector(spec.failures.report_timeout)
        self._placement = Placement(spec.resources, gpus_per_worker, self._log.note)
        self._probes = Probes(spec, self._log, wanted=probes and not only)
        self._group = cache(lambda cell: self._competition(self.plan.cell(cell)).group)
        self.queue = TrialQueue(spec, self._log, retry_failed=retry_failed, only=only)
        self._failures = FailurePolicy(
            spec,
            self._log,
            self.queue,
            self._placement,
            gpus=gpus_per_worker * spec.resources.workers,
            clock=clock,
            assign=self._assign,
        )
        self._left: tuple[float, TimeLeft | None] = -math.inf, None
        record.sync()

    @property
    def stop(self) -> StopRequest | None:
        """Why the study stops, once it does."""
        return self._log.request

    @property
    def lost(self) -> StorageUnavailable | StudyHeld | None:
        """Why the record cannot be written any more."""
        return self._log.lost

    @property
    def plan(self) -> Plan:
        """The plan with all that results have added to it."""
        return self.record.plan

    def trials(self) -> list[TrialRecord]:
        """Every trial: running ones as far as they are, those that wait as pending."""
        with self.lock:
            return self.queue.seen()

    # ---- what to run ------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Whether nothing is left to hand out, now or later."""
        with self.lock:
            return self.stop is not None or not (self.queue.running() or self.queue.waiting())

    def waiting(self) -> int:
        """How many cells wait for a lane."""
        with self.lock:
            return 0 if self.stop else self.queue.waiting()

    def idle_lanes(self) -> int:
        """How many lanes may stay up without a trial: a cell waits for each, and there is room for it.

        A trial that lost its workers counts as running: they come back where an idle lane makes room.
        """
        with self.lock:
            room = self.wanted_lanes - len(self.queue.running())
            return max(0, min(self.waiting(), room))

    def next_assignment(self) -> Assignment | None:
        """Return the next attempt; None while the lanes are full or nothing is ready."""
        with self.lock:
            if self.stop or len(self.queue.running()) >= self.wanted_lanes:
                return None
            with self._log.recording():
                self._probes.look(self.queue, self.clock())
                live = self.queue.next(self._probes.holds)
                if live is None:
                    return None
                with self.record.trace.span("assign", cell=live.record.name):
                    assignment = self._assign(live)
                live.handed = assignment.attempt
                return assignment
            return None  # it could not be written down

    def _assign(self, live: LiveTrial) -> Assignment:
        record, cell = live.record, self.plan.cell(live.record.cell)
        attempt, code = record.attempts + 1, self.record.code[:12] or None
        self.record.append(Assigned(cell.cell, cell.arm, cell.seed, attempt, live.lane, None, code))
        self.record.sync()
        live.begin(self.clock())
        self.queue.started(live)
        return Assignment(
            cell=cell.cell,
            arm=cell.arm,
            seed=cell.seed,
            attempt=record.attempts,
            config=trial_config(self.plan, cell, self.spec),
            changes={**self.plan.arm(cell.arm).set, **cell.set},
            trial_dir=f"{self.record.paths.root}/{record.trial_dir}",
            rungs=self._competition(cell).rule.rungs,
            decided=tuple(sorted(record.decisions)),
            selects=cell.phase == TUNE,
            asked=self._probes.asks(cell.cell),
        )

    def could_use(self) -> int:
        """How many worker groups the study could use now: trials that run or wait."""
        with self.lock:
            return 0 if self.stop else self.queue.waiting() + len(self.queue.running())

    def see(self, nodes: Sequence[Node], part: ClusterPart | None = None) -> list[dict[str, float]]:
        """Take in the cluster's nodes, and the study's part of them beside others.

        Returns what the study could use, one bundle of resources a worker.
        """
        with self.lock:
            groups = self.could_use()
            with self._log.recording():
                self.wanted_lanes = self._placement.see(nodes, part, busy=groups > 0)
            return bundles(self.spec.resources, self._gpus_per_worker, groups)

    # ---- what trials wait for, and how they end ---------------------------------------------------------

    def rung(self, event: RungReached) -> Answer:
        """Decide at a rung; the decision is on disk before the trial hears of it."""
        with self.lock:
            live = self.queue.current(event.cell, event.attempt)
            if live is None:
                return Answer(True, None, "this attempt is no longer current")
            if self.lost is None:
                name, rung = live.record.name, event.rung
                with self._log.recording(), self.record.trace.span("decide", cell=name, rung=rung):
                    return self._decide(live, event)
            return self._log.leave()

    def _competition(self, cell: Cell) -> Competition:
        """Return the rule that the cell is under, and among whom."""
        return competition(self.spec, self.plan.reference, cell)

    def _decide(self, live: LiveTrial, event: RungReached) -> Answer:
        cell, arm = live.record.cell, live.record.arm
        found = self._competition(self.plan.cell(cell))
        scores = self.record.state.rung_table.get(event.rung, {})
        peers = {peer: score for peer, score in scores.items() if self._group(peer) == found.group}
        report = RungReport(cell, arm, event.rung, event.length, event.score)
        made = decide(found.rule, {event.rung: peers}, report, protected=found.protected)
        live.reach(event.length, event.value, self.clock())
        at = (event.rung, event.length, event.score, event.value)
        self.record.append(
            Reported(cell, arm, event.attempt, *at, dict(event.metrics)),
            Decided(cell, **vars(made)),
        )
        self.record.sync()
        if made.action == "stop":
            live.answer = Answer(True, made.state, made.reason)
            return live.answer
        return self._log.leave() if self.stop else CONTINUE

    def ended(self, event: TrialEnded) -> None:
        """Take in that a trial ended on all of its ranks; what it said before is taken in."""
        with self.lock, self._log.recording():
            live = self.queue.current(event.cell, event.attempt)
            if live is not None:
                self._failures.ended(live, event)
                self._check_seed()

    def actor_lost(self, handed: tuple[str, int]) -> None:
        """Take in that the slot that got this attempt is gone; its cell goes to another one, or ends."""
        cell, attempt = handed
        with self.lock, self._log.recording():
            live = self.queue.current(cell)
            if live is not None and live.handed == attempt:
                self._failures.slot_lost(live)

    # ---- what workers say -------------------------------------------------------------------------------

    def take(self, events: Iterable[DriverEvent]) -> list[Action]:
        """Take in what happened; returns what has to be done about it."""
        actions: list[Action] = []
        with self.lock:
            for event in events:
                with self._log.recording():
                    actions += self._take_one(event)
            with self._log.recording():
                self.record.sync()
            return actions + self._failures.take_due()

    def _take_one(self, event: DriverEvent) -> list[Action]:
        match event:
            case LaneUp():
                self._failures.lane_up(event)
            case WorkerFailed():
                return self._failures.worker_failed(event)
            case EntrypointFailed():
                message = f"the entrypoint does not import on a worker: {event.message}"
                self._refuse(Fault(message, field="entrypoint"))
            case NodeUse():
                self._placement.use_told(event)
            case SpansTold(spans=spans):
                self.record.trace.add(spans)
            case _:
                live = self.queue.current(event.cell, event.attempt)
                if live is not None:
                    live.lane = event.lane
                    return self._hear(live, event)
        return []

    def _hear(
        self,
        live: LiveTrial,
        event: TrialStarted | TrialProgress | CheckpointKept | TrialTells | RanksWait | GroupLost,
    ) -> list[Action]:
        match event:
            case TrialProgress():
                last = event.reports[-1]
                live.reach(last.length, last.value, self.clock())
                self._hangs.reported(live, self.clock(), len(event.reports))
                self._probes.take(event)
                self._check_seed()
            case CheckpointKept():
                self._placement.worked(event.lane)
                self.record.append(Checkpointed(*live.key, event.name, event.step, event.length, event.value))
            case TrialTells(text=text):
                self._log.note(f"{live.record.name}: {text}")
            case RanksWait():
                live.awaited = self.clock()
            case GroupLost():
                return self._failures.group_lost(live, event)
            case TrialStarted(resumed_step=step):
                self.record.append(Started(*live.key, event.lane, event.devices, step))
                live.called = self.clock()
                self._hangs.started(live, live.called, resumed=step is not None)
                self._probes.called(event.cell, self.clock())
                for what in event.passed_over:
                    self._log.say(f"{live.record.name}: a checkpoint cannot be used: {what}")
                if step is not None:
                    self._log.say(f"{live.record.name}: attempt {event.attempt} goes on from step {step}")
        return []

    def _check_seed(self) -> None:
        """Stop the study once it is known that the entrypoint ignores its seed."""
        fault = None if self.stop else self._probes.fault()
        if fault is not None:
            self._refuse(fault)

    def _refuse(self, fault: Fault) -> None:
        self._log.stop(StopRequest(fault.message, ExitCode.BAD_INPUT, StudyError(fault)))

    # ---- time -------------------------------------------------------------------------------------------

    def tick(self) -> list[Action]:
        """Look at the clock: silent trials, spent budgets."""
        with self.lock:
            now, actions = self.clock(), self._failures.take_due()
            for live, words in self._hangs.overdue(self.queue.running(), now):
                if live.lane is not None:
                    actions.append(Recycle(live.lane, *live.key, words))
            reached = budget_reached(self.spec.budget, now - self._started_at, self._failures.spent_gpu_s())
            if reached is not None and not self.finished():
                self._log.stop(StopRequest(reached, ExitCode.BUDGET))
            return actions

    def request_stop(self, request: StopRequest) -> None:
        """Hand out nothing more; running trials leave at their next report (`leave_actions`)."""
        with self.lock:
            self._log.stop(request)

    def storage_failed(self, error: StorageUnavailable | StudyHeld) -> None:
        """Stop, since the record cannot be written any more: nothing new starts, running trials leave."""
        with self.lock:
            self._log.storage_failed(error)

    def leave_actions(self) -> list[Action]:
        """Tell every running trial to leave."""
        with self.lock:
            if self.stop is None:
                return []
            return [StopTrial(*live.key, self._log.leave()) for live in self.queue.running()]

    def give_up_waiting(self) -> None:
        """Trials that did not leave in time are cancelled; they go on from their checkpoints next time."""
        with self.lock:
            self._failures.give_up(self.stop.reason if self.stop else "stopped")

    # ---- what people see --------------------------------------------------------------------------------

    def new_notes(self) -> list[str]:
        """Return what happened since the last call and is worth a line."""
        with self.lock:
            return self._log.unseen()

    def counts(self) -> dict[str, int]:
        """Cells per state."""
        return {str(state): number for state, number in status.counts(self.trials()).items()}

    def exit_code(self) -> ExitCode:
        """Return the first that holds: why the study stopped, a cell that was to run has no answer, done."""
        with self.lock:
            if self.stop is not None:
                return self.stop.exit_code
            asked = (trial for trial in self.queue.seen() if self.queue.is_asked_for(trial.cell))
            failed = any(not trial.state.answered for trial in asked)
            return ExitCode.FAILED if failed else ExitCode.DONE

    def progress(self) -> dict[str, Any]:
        """Return what other processes may see between two rungs: cell -> length, value, lane, attempt, and
        the seconds that it took so far.

        `waits`: what trials wait for although there is room, under `for`; `run`: what nobody else knows of
        this run: how many trials wait for a lane, how many lanes fit, the GPUs of each, the nodes, and those
        of each lane.
        """
        with self.lock:
            awaited, running = self._probes.waits_for(), self.queue.running()
            where = self._placement.where([live.lane for live in running if live.lane])
            gpus = self._gpus_per_worker * self.spec.resources.workers
            run = {"waiting": self.queue.waiting(), "fit": self.wanted_lanes, "gpus": gpus, **where}
            about: dict[str, Any] = {"run": run}
            return (
                about
                | ({} if awaited is None else {"waits": {"for": awaited}})
                | {
                    live.record.cell: {
                        "length": live.length,
                        "value": live.value,
                        "lane": live.lane,
                        "attempt": live.record.attempts,
                        "wall_s": round(live.wall_s, 1),
                    }
                    for live in running
                }
            )

    def snapshot(self) -> status.Snapshot:
        """Return the live table's data."""
        spec = self.spec
        with self.lock:
            trials = tuple(self.queue.seen())
            return status.Snapshot(
                study=spec.name,
                metric=spec.metric.name,
                mode=spec.metric.mode,
                claimed=spec.metric.test,
                unit=spec.stopping.unit,
                max_length=float(spec.stopping.max),
                lanes=self.wanted_lanes,
                elapsed_s=self.clock() - self._started_at,
                spent_gpu_h=self._failures.spent_gpu_s() / 3600,
                left=self._time_left(trials),
                cells=trials,
                arms=tuple(arm.name for arm in self.plan.arms),
                notes=self._log.latest(5),
            )

    def _time_left(self, trials: Sequence[TrialRecord]) -> TimeLeft | None:
        """Return how long the run still takes; all trials are looked at for it, so not at every moment."""
        now, full = self.clock(), float(self.spec.stopping.max)
        if now - self._left[0] >= LEFT_EVERY_S:
            running = [full - reach(one, full) for one in trials if one.state is TrialState.RUNNING]
            left = time_left(
                Timings.of(trials, full),
                running,
                full,
                lanes=self.wanted_lanes,
                waiting=self.queue.waiting(),
                shortest=shortest(self.spec),
            )
            self._left = now, left
        return self._left[1]
