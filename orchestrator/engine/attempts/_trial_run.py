"""One rank's part of one attempt at a cell: counts its reports, records them, keeps checkpoints, and asks.

This is what stands behind `ray.train.report` while a trial is bound to a lane, and behind `Session.report`
of the built-in loop. Rank 0 writes the record; the other ranks only keep step.
"""

from __future__ import annotations

import copy
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.decide.rungs import highest_rung
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.attempts._link import Link
from orchestrator.engine.attempts._said import ReportRefused, bounded, differences, plain_report
from orchestrator.engine.attempts._scores import OfferedScores
from orchestrator.engine.attempts._staging import staged
from orchestrator.engine.attempts._uploads import CheckpointUploads, Part
from orchestrator.engine.attempts._worth import Worth
from orchestrator.engine.messages import (
    CONTINUE,
    Answer,
    Assignment,
    Outcome,
    Progress,
    RunFacts,
    RungReached,
)
from orchestrator.record.attempts import Superseded
from orchestrator.record.checkpoints import CheckpointStore, Kept, Manifest
from orchestrator.record.layout import TrialPaths, checkpoint_name
from orchestrator.record.loggers import TrackedTrial
from orchestrator.record.trackers.process import Trackers, run_id
from orchestrator.record.triallog import ResumePoint, TrialLog
from orchestrator.training.session import TrialStopped


class TrialRun:
    """What a report of one rank of one attempt does.

    `resume`: the checkpoint to go on from, the same on every rank, None for a fresh start; `passed_over`:
    newer checkpoints that cannot be used, and why (rank 0).
    """

    def __init__(
        self,
        facts: RunFacts,
        assignment: Assignment,
        link: Link,
        rank: int,
        world_size: int,
        resume: Manifest | None,
        trackers: Trackers | None = None,
        passed_over: tuple[str, ...] = (),
    ) -> None:
        self.trackers = trackers or Trackers(())
        self.facts, self.assignment, self.link = facts, assignment, link
        self.spec, self.storage = facts.spec, facts.storage
        self.rank, self.world_size, self.resume = rank, world_size, resume
        self.paths = TrialPaths(assignment.trial_dir)
        self.folder = Path.cwd()  # the trial's own, where a worker gives it one
        self.passed_over = passed_over
        self.store = CheckpointStore(facts.storage, self.paths, assignment.attempt)
        self.index = resume.report if resume else 0
        self.length: float = resume.length if resume else 0.0
        value = resume.value if resume else None
        self.worth = Worth(facts.spec, value, selects=assignment.selects)
        self.scores = OfferedScores()
        self.early: str | None = None  # why the trial is complete before its length, if it is
        self.refused: str | None = None  # why the last report was not taken, if it was not
        self.answer = CONTINUE
        self.complete = False
        self.loading_broke = False  # an error left the block in which a checkpoint is loaded
        self.handed_out = False  # a checkpoint is loaded nobody knows where
        self._asked = (
            highest_rung(assignment.rungs, self.length) if resume else None
        )  # rung of the last decision
        self._passed = self.length  # at the last report
        self._at = (resume.step, resume.epoch) if resume else (0, None)  # step and epoch there
        self._base_time = resume.time_s if resume else 0.0
        self._not_training = 0.0
        self._since = time.monotonic()
        self.log: TrialLog | None = None
        self.uploads: CheckpointUploads | None = None

    # ---- life -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the record of this attempt (rank 0) and begin to count training time."""
        spec = self.spec
        if self.rank == 0:
            at = self.resume
            self.trackers.open(self._tracked(), _warn)
            self.log = TrialLog(
                self.storage,
                self.paths,
                self.assignment.attempt,
                ResumePoint(at.report, at.step, at.name) if at else None,
                adopted=self._adopted(),
                loggers=spec.loggers,
                trackers=self.trackers,
            )
            self.worth.follow(self.log.earlier())
            self.scores.resume(self.store.scores_at(at.name) if at else None)
            if self.resume is None:
                self.log.text("config/difference", differences(self.assignment.changes), 0)
            self.log.began(self.assignment.config, [self.worth.claims])
        self.uploads = CheckpointUploads(
            self.store, self.link, self.rank, self.world_size, self.log, self._keep_some
        )
        self._since = time.monotonic()
        if self.rank == 0:
            a = self.assignment
            self.uploads.describe(
                cell=a.cell, arm=a.arm, seed=a.seed, attempt=a.attempt, config=a.config, set=a.changes
            )
            self.link.started(self.resume.step if self.resume else None, self.passed_over)

    def close(self, state: TrialState) -> None:
        """Wait for uploads, then close the record; a finished trial's tables become parquet."""
        stored = False
        value = self.worth.at_end(state)
        final = {} if value is None else {self.worth.claims: value}
        try:
            if self.uploads:
                if self.rank == 0:
                    self.uploads.describe(state=str(state), length=self.length, value=value)
                self.uploads.close()
            self.link.check()
            stored = True
        finally:
            if self.log and state.answered and stored:
                if self.passed_over or self.assignment.attempt > 1:
                    self.store.discard_incomplete()  # nobody will want to look at them any more
                self.log.ended(final, success=state is TrialState.DONE)
                counted = state is TrialState.DONE and not self.assignment.selects
                self.log.finish(self.scores.kept(self.spec.metric) if counted else None)
            elif self.log:
                self.log.close()
            if self.log:
                self.trackers.close(str(state), final)

    @property
    def value(self) -> float | None:
        """How good the trial is so far, by the metric that selects."""
        return self.worth.value

    @property
    def of_rank(self) -> str:
        """Which rank of several: ` of rank 1`; nothing where there is one."""
        return f" of rank {self.rank}" if self.world_size > 1 else ""

    def training_s(self) -> float:
        """Seconds of training over all attempts; waiting for decisions and uploads is not training."""
        return self._base_time + time.monotonic() - self._since - self._not_training

    def config(self) -> dict[str, Any]:
        """Return the trial's config for the user's code, which may change it: the record keeps its own."""
        return copy.deepcopy(dict(self.assignment.config))

    @property
    def has_said(self) -> bool:
        """Whether a report was made in this attempt, taken or refused."""
        return self.refused is not None or self.index > (self.resume.report if self.resume else 0)

    # ---- a report ---------------------------------------------------------------------------------------

    def checkpoint_due(self, length: float) -> bool:
        """Whether a checkpoint at the next report, at this length, is kept. Rank 0's word counts."""
        if self.spec.stopping.unit != "seconds" and self._milestone(length):
            return True
        return self._on_schedule(length) or (self.world_size == 1 and self.link.stop_wanted().stop)

    def report(self, metrics: Mapping[str, Any], part: Part | None) -> None:
        """Take one report. What becomes of `part` is settled when this returns or raises.

        Raises:
            TrialStopped: the trial is left here, on every rank.
            ValueError: the report lacks what the study needs of it; says what and where to mend it.
        """
        with ExitStack() as unless_kept:
            if part is not None:
                unless_kept.callback(part.discard)
            self._report(metrics, part, unless_kept)

    def _report(self, metrics: Mapping[str, Any], part: Part | None, unless_kept: ExitStack) -> None:
        if self.complete or self.answer.stop:
            raise TrialStopped(self.answer.reason or f"the trial has reached max: {self.spec.stopping.max:g}")
        row = self._plain(metrics)
        self.index += 1
        time_s = self.training_s()
        self.length = self._length_of(row, time_s)
        value = row.get(self.spec.metric.name)
        if self.log is not None:
            ours = {"report": self.index, "step": None, "epoch": None, "time_s": time_s}
            self.log.report({**ours, "attempt": self.assignment.attempt, **row})
        self.worth.take(row, self.length)
        self.scores.reported(counts=self.worth.counts)
        self._at = _step(row, self.index), row.get("epoch")
        reached_max = self.length >= self.spec.stopping.max
        due = self._milestone(self.length) or self.checkpoint_due(self.length)
        answer = self._settle(self._proposal(value, reached_max, due), row, time_s)
        self._keep(part, time_s, answer, unless_kept)
        self._passed = self.length
        if answer.stop:
            self.answer = answer
            raise TrialStopped(answer.reason or "stopped")
        self.complete = reached_max and self.spec.stopping.unit != "seconds"  # there the answer says so

    def keep_later(self, part: Part) -> None:
        """Keep a checkpoint that the only rank has left after its last report: it is of no report's score."""
        assert self.uploads is not None
        name = checkpoint_name(self._at[0], self.assignment.attempt, later=True)
        self.uploads.put(name, part, self._manifest(self.training_s(), self.worth.latest, None))

    @contextmanager
    def resume_dir(self, loading: bool = True) -> Iterator[Path | None]:
        """All ranks' parts of the checkpoint to go on from, as long as the block; None for a fresh start.

        `loading`: the block does no more than to load it.
        """
        if self.resume is None:
            yield None
            return
        with staged() as folder:
            self.store.fetch(self.resume.name, folder)
            self.handed_out = not loading
            with self.loads() if loading else nullcontext():
                yield folder

    @contextmanager
    def shown(self, name: str) -> Iterator[Path]:
        """Give the exact tree of a checkpoint, for reading, as long as the block."""
        with ExitStack() as stack:
            folder = self.store.lies_at(name)
            if folder is None:
                folder = self.store.fetch(name, stack.enter_context(staged()))
            stack.enter_context(self.loads())
            yield folder

    @contextmanager
    def loads(self) -> Iterator[None]:
        """Note that what is raised in the block comes from loading a checkpoint."""
        try:
            yield
        except Exception:
            self.loading_broke = True
            raise

    def reject_resume(self, why: str) -> None:
        """Let no attempt go on from the checkpoint that this one has begun with."""
        assert self.resume is not None
        self.store.reject(self.resume, why)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Values of one step for the curves."""
        if self.log is not None:
            self.log.scalars({bounded(str(name)): value for name, value in values.items()}, step)

    def ends_early(self, reason: str) -> None:
        """Remember why the trial is complete where it stands, although that is short of its length."""
        self.early = reason

    def outcome(self) -> Outcome:
        """How this rank left a trial that did not raise an error of its own."""
        state = self.answer.state or TrialState.CANCELLED if self.answer.stop else TrialState.DONE
        if state is TrialState.DONE and self.rank == 0:
            who = "rank 0, whose reports count," if self.world_size > 1 else "the trial"
            if (lacking := self.worth.lacking(who, self.index)) is not None:
                return self.ended(TrialState.FAILED, Cause.USER, lacking)
        cause = Cause.USER if state is TrialState.FAILED else None  # ranks that disagree
        return self.ended(state, cause, self.answer.reason or self.early)

    def ended(
        self,
        state: TrialState,
        cause: Cause | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> Outcome:
        """Return an end at where the trial stands; `error`: the user's traceback."""
        length, value = self.length if self.index else None, self.worth.at_end(state)
        unfit = state is TrialState.FAILED and self.worth.unfit
        curve = tuple(self.worth.passed.values.values())
        return Outcome(state, cause, reason, error, length, value, self.worth.beside, curve, unfit=unfit)

    # ---- inside -----------------------------------------------------------------------------------------

    def _plain(self, metrics: Any) -> dict[str, Any]:
        """Return a report as plain values; remembers the refusal, which user code may catch."""
        where = f"report {self.index + 1}{self.of_rank}"
        try:
            self.refused = None
            row = plain_report(metrics, where, self.spec.metric.name, self.spec.stopping.unit)
            self.worth.check(row, where)
            return row
        except ReportRefused as error:
            self.refused = str(error)
            raise

    def _adopted(self) -> tuple[str, ...]:
        """Return the checkpoints of earlier attempts up to the one that this attempt goes on from."""
        if self.resume is None:
            return ()
        return tuple(found.name for found in self.store.complete() if found.report <= self.resume.report)

    def _tracked(self) -> TrackedTrial:
        storage, study, a = self.storage, self.spec.name, self.assignment
        path = storage.path(self.facts.study_root)
        folder = path if storage.is_local else f"{tempfile.gettempdir()}/orchestrator-{study}"
        Path(folder).mkdir(parents=True, exist_ok=True)
        place = a.trial_dir.partition("/trials/")[2]  # <arm>/seed-<n>[/sample-<m>]
        return TrackedTrial(
            run_id=run_id(a.cell, path, self.facts.began),
            study=study,
            name=place,
            arm=a.arm,
            seed=a.seed,
            config=a.config,
            folder=folder,
        )

    def _length_of(self, row: Mapping[str, Any], time_s: float) -> float:
        unit = self.spec.stopping.unit
        if unit == "report":
            return float(self.index)
        if unit == "seconds":
            return time_s
        return float(row[unit])

    def _oriented(self, value: float) -> float:
        return value if self.spec.metric.mode == "max" else -value

    def _on_schedule(self, length: float) -> bool:
        """Whether a multiple of `checkpoint.every` lies between the last report and this length."""
        every = self.spec.checkpoint.every
        return every > 0 and math.floor(length / every + 1e-9) > math.floor(self._passed / every + 1e-9)

    def _milestone(self, length: float) -> bool:
        """Whether a report at this length ends the trial, passes a rung or a length that the study names."""
        passed = highest_rung(self.assignment.rungs, self._passed)
        return (
            length >= self.spec.stopping.max
            or highest_rung(self.assignment.rungs, length, above=passed) is not None
            or any(self._passed < named <= length for named in self.spec.checkpoint.at)
        )

    def _proposal(self, value: float | None, reached_max: bool, due: bool) -> Answer:
        """Return what this rank would do without a decision from outside; rank 0's counts."""
        name = checkpoint_name(self._at[0], self.assignment.attempt) if due else None
        if value is not None and not math.isfinite(value):
            return Answer(
                True, TrialState.DIVERGED, f"{self.spec.metric.name} is {value} at report {self.index}", name
            )
        if self.assignment.asked and self.rank == 0 and self.resume is None:
            wrong = self.worth.in_doubt(self.index, self.length, self.spec.stopping)
            if wrong is not None:
                return Answer(True, TrialState.FAILED, wrong)
        late = self.length >= 2 * self.spec.stopping.max or self.value is None
        if self.spec.stopping.unit == "seconds" and reached_max and (value is not None or late):
            return Answer(
                True, TrialState.DONE, f"{self.spec.stopping.max:g} seconds of training are over", name
            )
        return Answer(False, checkpoint=name)

    def _settle(self, proposal: Answer, row: Mapping[str, Any], time_s: float) -> Answer:
        progress = Progress(self.index, self.length, self.value, time_s, row)
        if self.spec.stopping.unit != "seconds":  # every rank has its own clock
            proposal = replace(proposal, length=self.length)
        rung = self._rung_reached(row) if not proposal.stop else None
        if self.rank == 0:
            wanted = self.link.post(progress)
        if self.world_size == 1 and rung is None:
            if not proposal.stop and wanted.stop:
                return Answer(True, wanted.state, wanted.reason, proposal.checkpoint)
            return proposal
        waiting_since = time.monotonic()
        answer = self.link.ask(self.index, proposal, rung if self.rank == 0 else None)
        self._not_training += time.monotonic() - waiting_since
        if answer.length is not None and answer.length != self.length:
            raise ReportRefused(
                f"report {self.index} of rank {self.rank} is at {self.spec.stopping.unit} {self.length:g}, "
                f"that of rank 0 at {answer.length:g}: all ranks make the same reports in the same order"
            )
        return answer

    def _rung_reached(self, row: Mapping[str, Any]) -> RungReached | None:
        rung = highest_rung(self.assignment.rungs, self.length, above=self._asked)
        if rung is None or self.worth.stale or self.value is None:
            return None
        self._asked = rung
        if rung in self.assignment.decided:
            return None
        score = self._oriented(self.value)
        also = {key: row[key] for key in (self.spec.metric.name, *self.spec.metric.also) if key in row}
        return RungReached(
            self.assignment.cell, self.assignment.attempt, rung, self.length, score, self.value, also
        )

    def _keep_some(self) -> Kept:
        keep = self.spec.checkpoint
        return self.store.retain(keep.keep_best, keep.keep_latest, keep.at)

    def _keep(self, part: Part | None, time_s: float, answer: Answer, unless_kept: ExitStack) -> None:
        """Hand a due checkpoint to the uploads; every rank takes part, also with nothing to give."""
        assert self.uploads is not None
        if answer.checkpoint is None or (part is None and self.world_size == 1):
            return
        value = self.worth.latest
        score = None if value is None else self._oriented(value)
        waiting_since = time.monotonic()
        try:
            scores = self.scores.kept(self.spec.metric) if self.rank == 0 else None
            self.uploads.put(answer.checkpoint, part, self._manifest(time_s, value, score), scores)
            unless_kept.pop_all()  # the uploads have it
        except Superseded as error:
            self.answer = Answer(True, TrialState.CANCELLED, str(error))
            raise TrialStopped(str(error)) from error
        self._not_training += time.monotonic() - waiting_since

    def _manifest(self, time_s: float, value: float | None, score: float | None) -> Manifest:
        step, epoch = self._at
        return Manifest(
            step=step,
            epoch=epoch,
            length=self.length,
            report=self.index,
            time_s=time_s,
            attempt=self.assignment.attempt,
            world_size=self.world_size,
            value=value,
            score=score,
        )


def _warn(text: str) -> None:
    sys.stderr.write(f"{text}\n")  # the trial's log while it runs


def _step(row: Mapping[str, Any], index: int) -> int:
    step = row.get("step")
    return int(step) if isinstance(step, (int, float)) and not isinstance(step, bool) else index
