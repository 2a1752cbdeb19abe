"""A command as a trial: it is started, its metrics become reports, and it ends with the trial.

With several workers each rank runs the command, as torchrun would have it. Rank 0 reads the metrics; the
other ranks hear of each report from it and make the same, so that all leave the trial together.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self

from orchestrator.current import CONFIG, REPORTS, TRIAL_DIR, scores_folder
from orchestrator.decide.faults import FaultKind
from orchestrator.decide.states import Cause, TrialState
from orchestrator.engine.attempts import BROKEN_COLLECTIVE, KnownFailure, Part, TrialRun, free_space
from orchestrator.engine.command._elsewhere import WritesElsewhere
from orchestrator.engine.command._environment import environment, rank_variables, seat
from orchestrator.engine.command._leaving import LeftCheckpoints, State, clear, matches, put_back
from orchestrator.engine.command._process import CannotStart, CommandProcess
from orchestrator.engine.command.readings import Readings, readings_of, reports_file
from orchestrator.engine.messages import Answer
from orchestrator.engine.runners.runner import Code, Runner, TrialPlace
from orchestrator.record.scores import unpacked
from orchestrator.study.arguments import variables
from orchestrator.study.command import CommandSpec, words_of
from orchestrator.training.session import TrialStopped

CHECKPOINT = "ORCHESTRATOR_CHECKPOINT"
"""Where the command finds what it goes on from; only then it is set."""
LOOK_S, LEAST_S = 0.25, 0.02
"""How often files are looked at for metrics: while nothing is printed, and at most."""
ASK_S = 1.0
"""How often the driver is asked whether the trial may go on, and a command that has reported nothing yet
whether it ever will.
"""
QUIET_S = 120.0
"""After which a command that has reported nothing is told of, with what was looked at."""
BUSY_S = 1.0
"""Who has not looked for so long cannot tell which report a checkpoint was left before."""
_OUT_OF_MEMORY = ("OutOfMemoryError", "CUDA out of memory", "MemoryError")
_SAID_BY_A_SHELL = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
_DISK_FULL = ("No space left on device", "Disk quota exceeded")


class CommandRunner(Runner):
    """`entrypoint: {command: ...}`."""

    noun = "a command, entrypoint: {command: ...}"

    def __init__(self, command: CommandSpec) -> None:
        self._command = command

    @classmethod
    def of(cls, code: Code) -> Self | None:
        """See `Runner.of`."""
        if not isinstance(code.entrypoint, Mapping) or "command" not in code.entrypoint:
            return None
        return cls(CommandSpec.model_validate(code.entrypoint))

    def run(self, run: TrialRun, place: TrialPlace) -> None:  # noqa: ARG002 - another process has no use for it
        """See `Runner.run`."""
        CommandTrial(self._command, run).run()


class CommandTrial:
    """One rank's part of one attempt."""

    def __init__(self, command: CommandSpec, run: TrialRun) -> None:
        self._command, self._run = command, run
        self._folder = run.folder
        self._stopping, self._unit = run.spec.stopping, run.spec.stopping.unit
        self._behind = run.resume is not None  # what it reports may be in the record already
        self._said = 0
        self._apart: str | None = None  # our host, where checkpoints that are left there are nobody's
        self._whole: Mapping[Path, State] | None = None

    def run(self) -> None:
        """Run the command to its end, or until the trial is left.

        Raises:
            TrialStopped: the trial is left at a report, and nothing of the command is left.
            KnownFailure: the command ended otherwise than it should.
        """
        run = self._run
        checkpoint = self._put_back()
        words, variables = self._words(checkpoint), self._variables(checkpoint)
        readings = readings_of(self._command.metrics, self._folder, run.spec.metric.name, self._unit)
        reads = readings if run.rank == 0 else None
        elsewhere = WritesElsewhere(words, self._folder)
        with CommandProcess(
            words, self._folder, variables, self._command.grace, _show, reads.line if reads else _nothing
        ) as process:
            left = LeftCheckpoints(self._folder, self._command.checkpoint, process.has_open)
            try:
                if reads is not None:
                    self._lead(process, reads, left, elsewhere)
                else:
                    self._follow(process, left)
            except (TrialStopped, KnownFailure) as error:
                if run.world_size == 1 and self._will_go_on(error):
                    self._keep_last(process, left)
                raise
            except ValueError as error:  # a report that is refused, metrics that can be read in two ways
                raise KnownFailure(Cause.USER, str(error)) from error
            finally:
                elsewhere.ended()

    # ---- before it starts -------------------------------------------------------------------------------

    def _put_back(self) -> Path | None:
        """Let the directory hold the checkpoint to go on from, and no other; returns where that is."""
        run, pattern = self._run, self._command.checkpoint
        if run.rank == 0 and run.assignment.attempt > 1:
            for path in list(matches(self._folder, pattern)):
                clear(path)
        self._together("cleared")
        found = None
        with run.resume_dir() as source:
            for rank in range(run.world_size):
                if source is not None and rank == run.rank:  # in turn: they may share the directory
                    found = put_back(source, self._folder, pattern)
                self._together(f"put back by {rank}")
        return found

    def _words(self, checkpoint: Path | None) -> list[str]:
        back = None if checkpoint is None else str(checkpoint)
        return words_of(self._command, self._run.config(), str(self._folder), back)

    def _variables(self, checkpoint: Path | None) -> dict[str, str]:
        run, config = self._run, self._run.config()
        ours: dict[str, str | Path] = dict(variables(self._command.arguments, config))
        reports = reports_file(self._folder)
        reports.parent.mkdir(parents=True, exist_ok=True)
        if run.rank == 0:
            shutil.rmtree(scores_folder(reports), ignore_errors=True)  # of an earlier attempt
        settings = reports.with_name(f"config-{run.rank}.json")
        settings.write_text(json.dumps(config))
        ours |= {TRIAL_DIR: self._folder, CONFIG: settings}
        if run.rank == 0:
            ours[REPORTS] = reports
        if checkpoint is not None:
            ours[CHECKPOINT] = checkpoint
        if run.world_size == 1:
            return environment(ours, {})
        seats = self._all("seat", seat())
        mine = [rank for rank in sorted(seats) if seats[rank].host == seats[run.rank].host]
        if mine[0] == run.rank > 0 and not run.storage.is_local:  # else the hosts share the directory
            self._apart = seats[run.rank].host
        return environment(ours, rank_variables(seats, run.rank, run.assignment.cell))

    # ---- while it runs ----------------------------------------------------------------------------------

    def _lead(
        self,
        process: CommandProcess,
        readings: Readings,
        left: LeftCheckpoints,
        elsewhere: WritesElsewhere,
    ) -> None:
        looked = asked = time.time()
        asks, leave_at = self._run.assignment.asked and self._run.resume is None, math.inf
        quiet_at = looked + QUIET_S if self._run.resume is None else math.inf
        while not process.over:
            if process.take(LOOK_S) and time.time() - looked < LEAST_S:
                continue
            rows, now = readings.poll(), time.time()
            busy = now - looked > BUSY_S  # with the report before: it is not known when these were made
            self._report_all(rows, left, looked if busy else now)
            looked = now
            if now < asked + ASK_S:
                continue
            asked = now
            if elsewhere.due():
                elsewhere.look(process.writing())
            if asks := asks and not self._run.has_said:
                self._refuse_mistakes(readings)
            if now >= quiet_at:
                quiet_at = math.inf
                self._say_what_is_read(readings)
            if (word := self._run.link.hear()).stop:
                leave_at = min(leave_at, now + self._command.grace)
                if now >= leave_at:
                    self._leave(word, process, readings, left)
        code = _code(process)
        self._report_all(readings.poll() + readings.close(), left, math.inf)
        waiting = sorted(scores_folder(reports_file(self._folder)).glob("*.parquet"))
        self._take_scores(waiting[-1] if waiting else None)
        self._end(process, code, readings)
        self._tell(None)

    def _leave(
        self, word: Answer, process: CommandProcess, readings: Readings, left: LeftCheckpoints
    ) -> NoReturn:
        """End a command that was to leave the trial at its next report, and has made none for a while."""
        self._tell(word)  # all ranks end theirs meanwhile
        self._end_now(process, left)
        if self._run.world_size == 1:  # what it has said and saved at SIGTERM counts
            self._report_all(readings.poll() + readings.close(), left, math.inf)
        self._run.answer = word
        raise TrialStopped(word.reason or "stopped")

    def _say_what_is_read(self, readings: Readings) -> None:
        """Tell of a command that has reported nothing yet; people hear of one whose reports others await."""
        if not self._run.has_said:
            text = f"nothing is reported after {QUIET_S / 60:.0f} minutes: {readings.so_far()}"
            sys.stderr.write(f"[orchestrator] {text}\n")
            if self._run.assignment.asked:
                self._run.link.tell(text)

    def _refuse_mistakes(self, readings: Readings) -> None:
        if (wrong := readings.mistaken()) is not None:
            raise KnownFailure(Cause.USER, f"{wrong}; if the other one comes later: --no-check", unfit=True)

    def _report_all(self, rows: list[dict[str, Any]], left: LeftCheckpoints, before: float) -> None:
        """Report them; the checkpoint that was left before that time is the last one's."""
        for row in rows:
            named: Path | None = getattr(row, "checkpoint", None)
            if self._repeats(row):
                for path in (named, getattr(row, "scores", None)):
                    if path is not None:
                        clear(path)
                continue
            length = row.get(self._unit, self._run.index + 1)
            part: Part | None = None
            if type(length) in (int, float) and self._run.checkpoint_due(float(length)):
                part = left.take(named, before) if named is not None or row is rows[-1] else None
            elif named is not None:
                clear(named)
            self._tell(dict(row))
            self._take_scores(getattr(row, "scores", None))
            self._run.report(row, part)

    def _take_scores(self, path: Path | None) -> None:
        """Take what `orchestrator.report_scores` has left there."""
        if (
            path is not None
            and path.is_file()
            and path.is_relative_to(scores_folder(reports_file(self._folder)))
        ):
            self._run.scores.offer(unpacked(path.read_bytes()))
            path.unlink()

    def _repeats(self, row: Mapping[str, Any]) -> bool:
        """Whether a resumed command says again what is in the record: it left its checkpoint after that."""
        resume = self._run.resume
        if not self._behind or resume is None:
            return False
        known: dict[str, float | None] = {"epoch": resume.epoch, "step": resume.step}
        key = (
            self._unit if self._unit in known else next((key for key in ("step", "epoch") if key in row), "")
        )
        before = resume.length if key == self._unit else known.get(key)
        here = row.get(key)
        self._behind = isinstance(here, (int, float)) and before is not None and here <= before
        return self._behind

    def _follow(self, process: CommandProcess, left: LeftCheckpoints) -> None:
        """Make the reports of rank 0 until it says that there are no more."""
        others = ThreadPoolExecutor(1, thread_name_prefix="orchestrator-follower")
        try:
            self._follow_by(process, left, others)
        finally:
            others.shutdown(wait=False)

    def _follow_by(self, process: CommandProcess, left: LeftCheckpoints, others: ThreadPoolExecutor) -> None:
        hearing: Future[dict[str, Any] | Answer | None] | None = others.submit(self._hear)
        while True:
            if not process.over:
                process.take(LOOK_S)
            elif (code := _code(process)) != 0:
                self._end(process, code, None)
            if hearing is not None:
                wait([hearing], LOOK_S if process.over else 0.0)
            elif process.over:
                return
            if hearing is not None and hearing.done():
                row = hearing.result()
                self._tell_of_lost(left)
                if isinstance(row, Answer):
                    self._run.answer = row
                    raise TrialStopped(row.reason or "stopped")
                if row is not None:
                    self._run.report(row, None)
                hearing = None if row is None else others.submit(self._hear)

    def _tell_of_lost(self, left: LeftCheckpoints) -> None:
        """Let people know once of checkpoints that lie on this host only: rank 0's are what is kept."""
        if self._apart is None or not (lost := left.unseen()):
            return
        self._run.link.tell(
            f"rank {self._run.rank} leaves checkpoints on {self._apart} ({lost[0]}) that are not kept: on "
            "this storage each host has a directory of its own. Let rank 0 save the whole checkpoint, or "
            "keep the study on a disk that all hosts have"
        )
        self._apart = None

    def _hear(self) -> dict[str, Any] | Answer | None:
        """Return the next report of rank 0, that all leave here, or None at the end; waits for it."""
        row: dict[str, Any] | Answer | None = self._all(f"reading {self._said}", None)[0]
        self._said += 1
        return row

    def _tell(self, row: dict[str, Any] | Answer | None) -> None:
        """Let the other ranks make a report, leave, or know that there are no more reports."""
        if self._run.world_size > 1:
            self._all(f"reading {self._said}", row)
            self._said += 1

    # ---- its end ----------------------------------------------------------------------------------------

    def _will_go_on(self, error: TrialStopped | KnownFailure) -> bool:
        """Whether another attempt is to go on from where this one has been ended."""
        if isinstance(error, KnownFailure):
            return error.cause is Cause.INFRA and error.fault in (None, FaultKind.WORKER_KILLED)
        return self._run.answer.state is TrialState.CANCELLED

    def _keep_last(self, process: CommandProcess, left: LeftCheckpoints) -> None:
        """Keep what the command has saved since its last report, also at SIGTERM."""
        self._end_now(process, left)
        by_itself = process.code is not None and _how_it_ended(process.code)[1] is None
        part = left.take_last(None if by_itself else self._whole)
        if part is not None:
            self._run.keep_later(part)

    def _end_now(self, process: CommandProcess, left: LeftCheckpoints) -> None:
        """End the command, and remember which of its checkpoints were whole before."""
        if self._whole is None:
            self._whole = left.whole(killed=process.over)
            process.end()

    def _end(self, process: CommandProcess, code: int, readings: Readings | None) -> None:
        """Raise `KnownFailure` unless it ended as it should."""
        run, who = self._run, f"the command{self._run.of_rank}"
        last = process.last_lines()
        if code == 0:
            if readings is None or run.length >= self._stopping.max or run.spec.allow_short:
                return
            where = f"at {run.length:g} of {self._stopping.max:g} {self._unit.removesuffix('s')}s"
            if not run.has_said:
                why = readings.mistaken() or readings.missing()
                how = f"({who} ended with exit code 0, {where})"
                raise KnownFailure(Cause.SHORT, f"{why} {how}", unfit=True)
            reason = (
                f"{who} ended {where}, with exit code 0; hand it {{max_length}}, or set allow_short: true"
            )
            raise KnownFailure(Cause.SHORT, reason)
        how, killed = _how_it_ended(code)
        nothing = "" if killed else "; it printed nothing"
        reason = f"{who} {how}{f': {last[-1][:500]}' if last else nothing}"
        text = "\n".join(last)
        if killed is not None:
            fault = FaultKind.WORKER_KILLED if killed in (signal.SIGKILL, signal.SIGTERM) else None
            raise KnownFailure(Cause.INFRA, reason, fault=fault)
        if any(mark in text for mark in _OUT_OF_MEMORY):
            raise KnownFailure(Cause.OOM, reason)
        if any(mark in text for mark in _DISK_FULL):
            raise KnownFailure(Cause.INFRA, f"{reason}; {free_space()}", fault=FaultKind.DISK_FULL)
        if run.world_size > 1 and any(mark in text for mark in BROKEN_COLLECTIVE):
            raise KnownFailure(Cause.USER, reason, secondary=True)
        if run.resume is not None and not run.has_said and run.rank == 0:
            run.reject_resume(reason)
            reason = f"checkpoint {run.resume.name} is not used again: {reason}, before it reported anything"
            raise KnownFailure(Cause.INFRA, reason, fault=FaultKind.CHECKPOINT)
        raise KnownFailure(Cause.USER, reason)

    # ---- the other ranks --------------------------------------------------------------------------------

    def _all(self, what: str, mine: Any) -> Mapping[int, Any]:
        said = self._run.link.of_all(f"command: {what}", mine)
        if said is None:
            raise KnownFailure(Cause.INFRA, "this attempt is no longer current")
        return said

    def _together(self, what: str) -> None:
        if self._run.world_size > 1:
            self._all(what, True)


def _code(process: CommandProcess) -> int:
    try:
        return process.finish()
    except CannotStart as error:
        raise KnownFailure(Cause.USER, f"the command cannot be started: {error}") from error


def _how_it_ended(code: int) -> tuple[str, int | None]:
    """Return it in words, and the signal that killed it; a shell says 128 + n for a program killed by n."""
    number = -code if code < 0 else code - 128
    if code < 0 or number in _SAID_BY_A_SHELL:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(number).name}", number
    return f"ended with exit code {code}", None


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _nothing(_: str) -> None: ...
