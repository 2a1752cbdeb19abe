"""What follows when an attempt ends, fails, or loses its workers: the trial's end, or its next attempt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.decide.failing import failed, stops_study
from orchestrator.decide.faults import FaultKind, fault_of, retry
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.conduct._placement import Placement
from orchestrator.engine.conduct._runlog import RunLog, last_lines
from orchestrator.engine.conduct._trialqueue import LiveTrial, TrialQueue
from orchestrator.engine.messages import (
    Action,
    Assignment,
    GroupLost,
    LaneUp,
    Outcome,
    Reassign,
    StopRequest,
    TrialEnded,
    WorkerFailed,
)
from orchestrator.errors import ClusterUnavailable, ExitCode, Fault, StudyError
from orchestrator.record.events import AttemptFailed, TrialEnd
from orchestrator.record.shared import DOUBTFUL, shared_files
from orchestrator.study.spec import StudySpec
from orchestrator.study.visible import gist

_UNFIT = "mend the study file and begin again with --fresh, or the code and go on with --retry-failed"
WORKER_STARTS = 3  # how often a group may fail to start before the study gives up


class FailurePolicy:
    """Writes down every end before it takes effect. Not thread-safe: the conductor's lock guards it.

    `gpus`: what one trial holds; `assign` hands out the next attempt, written down.
    """

    def __init__(
        self,
        spec: StudySpec,
        log: RunLog,
        queue: TrialQueue,
        placement: Placement,
        *,
        gpus: float,
        clock: Callable[[], float],
        assign: Callable[[LiveTrial], Assignment],
    ) -> None:
        self._log, self._record, self._queue, self._placement = log, log.record, queue, placement
        self._assign, self._clock = assign, clock
        self._max_retries, self._stop_when = spec.failures.max_retries, spec.failures.stop_when
        self._metric = spec.metric.name
        self._most_failures = spec.resources.workers * WORKER_STARTS
        self._gpus = gpus
        self._given_up: dict[tuple[str, int], Outcome] = {}  # attempts whose group was lost, not tried again
        self._worker_failures = 0  # in a row
        self._due: list[Action] = []
        # every attempt of this run adds to it: looked at several times a second, with however many cells
        self._recorded_gpu_s = sum(record.gpu_s for record in queue.state.cells.values())

    def take_due(self) -> list[Action]:
        """Return what ends have called for and nobody has carried out yet."""
        due, self._due = self._due, []
        return due

    def spent_gpu_s(self) -> float:
        """GPU seconds of the study, those of running attempts included."""
        now = self._clock()
        under_way = sum(live.under_way_s(now) for live in self._queue.running())
        return self._recorded_gpu_s + self._gpus * (self._queue.unrecorded_s() + under_way)

    # ---- what happens to attempts -----------------------------------------------------------------------

    def ended(self, live: LiveTrial, event: TrialEnded) -> None:
        """All ranks have left the attempt."""
        outcome, lane = event.outcome, event.lane
        if live.since is not None:
            live.spend(event.wall_s)
        for what in outcome.recycle:
            self._log.say(f"{live.record.name}: fresh workers on {lane}: {what}")
        live.wrote, live.shared = outcome.wrote, outcome.shared
        if live.answer is not None:
            self._end_as_told(live, lane)
            return
        live.length, live.value, live.beside = outcome.length, outcome.value, outcome.beside
        live.curve = outcome.curve
        state, cause, reason = outcome.state, outcome.cause, outcome.reason
        if state is not TrialState.FAILED:
            self._placement.worked(lane)
        elif live.key not in self._given_up:
            fault = outcome.fault or fault_of(cause or Cause.INFRA)
            stop = self._log.request
            if stop is not None and fault.retried:
                state, cause, reason = TrialState.CANCELLED, None, stop.reason
            elif self._fail(
                live, fault, reason or outcome.error or "unknown", self._placement.nodes_of(lane)
            ):
                self._queue.put_back(live)
                return
        self._end(live, state, cause, reason, lane, outcome.imported, unfit=outcome.unfit)

    def group_lost(self, live: LiveTrial, event: GroupLost) -> list[Action]:
        """Take in that a worker group is gone: the next attempt goes to the lane's fresh workers, or it
        ends.
        """
        fault = FaultKind.HANG if live.hangs else event.fault
        self._spend(live)
        if live.answer is not None:
            assert live.answer.state is not None
            return [Reassign(event.lane, None, self._outcome(live, live.answer.state))]
        if self._log.request is None:
            with self._log.recording():
                again = self._fail(live, fault, event.message, event.nodes)
                if again and self._placement.is_ending(event.lane):
                    return []  # the lane ends: the runtime hears of it and gives the cell to another one
                if again:
                    return [Reassign(event.lane, self._assign(live))]
        if stop := self._log.request:
            cancelled = self._outcome(live, TrialState.CANCELLED, reason=stop.reason)
            return [Reassign(event.lane, None, cancelled)]
        failed = self._outcome(live, TrialState.FAILED, fault.cause, event.message, fault)
        self._given_up[live.key] = failed
        return [Reassign(event.lane, None, failed)]

    def slot_lost(self, live: LiveTrial) -> None:
        """Let a trial whose slot is gone go to another one, or end."""
        self._spend(live)
        given_up = self._given_up.get(live.key)
        if live.answer is not None:
            self._end_as_told(live, None)
        elif given_up is not None:  # the lane ended before it could say so
            self._end(live, given_up.state, given_up.cause, given_up.reason, live.lane)
        elif stop := self._log.request:  # nothing failed for good: the next start goes on with it
            self._end(live, TrialState.CANCELLED, None, stop.reason, live.lane)
        else:
            moved = self._placement.is_ending(live.lane)
            fault = FaultKind.MOVED if moved else FaultKind.UNKNOWN
            message = "its node was set aside" if moved else "the trial actor died"
            if self._fail(live, fault, message, ()):
                self._queue.put_back(live)
            else:
                self._end(live, TrialState.FAILED, fault.cause, message, live.lane)

    def give_up(self, reason: str) -> None:
        """Trials that did not leave in time are cancelled; they go on from their checkpoints next time."""
        for live in self._queue.running():
            self._spend(live)
            with self._log.recording():
                if live.answer is not None:
                    self._end_as_told(live, live.lane)
                else:
                    self._end(live, TrialState.CANCELLED, None, reason, live.lane)

    # ---- what happens to workers ------------------------------------------------------------------------

    def lane_up(self, event: LaneUp) -> None:
        """Workers do start."""
        self._worker_failures = 0
        self._placement.lane_up(event.lane, event.nodes)

    def worker_failed(self, event: WorkerFailed) -> list[Action]:
        """Take in that a worker did not come up; some that never do would be started again for ever."""
        aside = self._placement.could_not_start(event.lane, event.node)
        if aside is not None:
            self._worker_failures = 0
            return [aside]
        self._worker_failures += 1
        self._log.say(f"a worker of {event.lane} could not start: {gist(event.message)}")
        if self._worker_failures >= self._most_failures:
            reason = f"workers cannot start:\n{event.message}"
            self._log.stop(StopRequest(reason, ExitCode.UNAVAILABLE, ClusterUnavailable(reason)))
        return []

    # ---- writing it down --------------------------------------------------------------------------------

    def _fail(self, live: LiveTrial, fault: FaultKind, message: str, nodes: Sequence[str]) -> bool:
        """Write down that an attempt failed on these nodes; returns whether the trial is tried again."""
        record = live.record
        verdict = retry(fault, record.retries_since_progress + fault.counts, self._max_retries)
        again = verdict.again and self._log.request is None
        where = ", ".join(map(self._placement.name, nodes)) or None
        spent = live.take_unrecorded()
        failed = AttemptFailed(*live.key, fault.cause, message, again, where, fault)
        self._record.append(replace(failed, wall_s=spent, gpu_s=spent * self._gpus))
        self._recorded_gpu_s += spent * self._gpus
        self._record.sync()
        kind = fault.cause if fault in (FaultKind.EXCEPTION, FaultKind.UNKNOWN) else fault
        there = f" on {where}" if where and fault.speaks_against_node else ""
        what_now = "tried again" if again else verdict.reason
        self._log.say(f"{record.name}: {kind}{there}: {gist(message)}; {what_now}")
        aside = self._placement.failed(nodes, record.name, fault, live.lane)
        if aside is not None:
            self._due.append(aside)
        return again

    def _end_as_told(self, live: LiveTrial, lane: str | None) -> None:
        """End a trial as it was told to, whatever became of it before it could leave."""
        assert live.answer is not None
        assert live.answer.state is not None
        self._end(live, live.answer.state, None, live.answer.reason, lane)

    def _end(
        self,
        live: LiveTrial,
        state: TrialState,
        cause: Cause | None,
        reason: str | None,
        lane: str | None,
        imported: Sequence[str] = (),
        *,
        unfit: bool = False,
    ) -> None:
        """Write the end down; what follows from it is asked, and due."""
        spent = live.take_unrecorded()
        gpu_s = spent * self._gpus
        end = TrialEnd(*live.record.who, state, cause, reason, live.length, live.value, spent, gpu_s, lane)
        new = tuple(sorted(set(imported) - self._queue.state.imported))
        end = replace(end, accepted_code_change=self._record.code_changed, imported=new)
        end = replace(end, beside=dict(live.beside) or None, wrote=live.wrote, shared=live.shared)
        if state is TrialState.DONE:
            end = replace(end, curve=live.curve)
        self._record.append(end)
        self._recorded_gpu_s += gpu_s
        self._say_shared(live)
        self._due += self._queue.ended(live)
        self._record.sync()
        if failed(live.record):
            self._end_study(live, unfit=unfit)

    def _say_shared(self, live: LiveTrial) -> None:
        """Tell of files that this trial has changed, and that others share."""
        if live.wrote or live.shared:
            for file in shared_files(self._queue.state.cells.values()):
                if live.record in file.trials:
                    self._log.note(f"{file}; {DOUBTFUL}")

    def _end_study(self, live: LiveTrial, *, unfit: bool) -> None:
        """Stop the study where this failure means that the others would fail, too.

        `unfit`: the study file does not fit what the trial reports, so the input is bad.
        """
        plan, record = self._queue.state.plan, live.record
        why = stops_study(self._stop_when, plan, self._queue.state.cells, plan.cell(record.cell))
        if why is None or self._log.request is not None:
            return
        reason = f"stopped: {record.name} failed, and {why}"
        log = f"{self._record.paths.root}/{record.trial_dir}/log.txt"
        shown = (
            f"{record.name} failed: {gist(record.reason or 'unknown')}",
            f"the end of {self._record.storage.path(log)}:",
            *(f"  {line}" for line in last_lines(self._record.storage, log)),
        )
        if not unfit:
            self._log.stop(StopRequest(reason, ExitCode.FAILED, shown=shown))
            return
        fault = Fault(shown[0], field="metric.name", value=self._metric, hint=_UNFIT)
        self._log.stop(StopRequest(reason, ExitCode.BAD_INPUT, StudyError(fault), shown))

    def _spend(self, live: LiveTrial) -> None:
        live.spend(live.under_way_s(self._clock()))

    @staticmethod
    def _outcome(
        live: LiveTrial,
        state: TrialState,
        cause: Cause | None = None,
        reason: str | None = None,
        fault: FaultKind | None = None,
    ) -> Outcome:
        """How a trial ends that cannot say so itself: as far as it was heard of."""
        return Outcome(state, cause, reason, length=live.length, value=live.value, fault=fault)
