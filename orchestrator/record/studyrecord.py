"""The record of one study: made on the first start, reconciled with study file and code on every other.

A study exists once its `plan.json` does, which is written last. Until then, a start begins anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from orchestrator.decide.states import TrialState
from orchestrator.errors import ChangedCode, ChangedStudy, Fault, StorageUnavailable, StudyError
from orchestrator.record.codeidentity import changes, shown_changes, with_added
from orchestrator.record.events import Event, Noted, Reopened, StudyStarted
from orchestrator.record.journal import Journal, JournalContents, read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import Lease
from orchestrator.record.recorded import RecordedStudy, read_record
from orchestrator.record.snapshot import SnapshotWriter
from orchestrator.record.spans import UNTRACED, Untraced
from orchestrator.record.state import StudyState, fold
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Plan
from orchestrator.study.identity import (
    differences,
    extends_only,
    extension_hint,
    frozen_view,
    seeds_are_registered,
)
from orchestrator.study.registered import rule_of
from orchestrator.study.spec import StudySpec

How = Literal["new", "resume", "extend"]
Hears = Callable[[Sequence[Event], StudyState], None]
"""Is told what is on the disk now, in the thread that has written it: it must not wait for anything."""

_HEADER = "# The study as it was started: resolved, with every default. Written by the orchestrator.\n"


@dataclass(frozen=True)
class Start:
    """How a study is started: its code, what is allowed, and what is recorded about the start.

    `code_bytes`: the packed code; `env`: `collect_env`; `fresh`: rename an existing directory and begin anew;
    `extend`: accept more arms and seeds; `accept_code_change`: accept other code; `retry_failed`: run failed
    cells again, which other code is for; `owner`: who drives it, for the lease.
    """

    code_hash: str
    code_bytes: bytes = b""
    env: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    extend: bool = False
    accept_code_change: bool = False
    retry_failed: bool = False
    owner: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Reconciled:
    """What a start comes to. `code`: the hash that its trials are marked with; `archive`: what they run.

    `added`: it has files that the recorded one lacks, and is the same otherwise.
    """

    how: How
    code: str
    archive: bytes
    added: bool = False


@dataclass(frozen=True)
class StudyRecord:
    """A study that this process drives: its journal and its state, which change together by `append`.

    `how`: new, resume or extend; `code`: hash of the code that runs; `archive_digest`: of its archive;
    `code_changed`: it is not that of the first start, so that cells which end from now on are marked;
    `moved`: where `fresh` has put the old directory; `trace`: takes what this process does; `listeners`:
    hear of events once they are on the disk.
    """

    storage: Storage
    paths: StudyPaths
    journal: Journal
    state: StudyState
    lease: Lease
    snapshots: SnapshotWriter
    how: How
    code: str = ""
    archive_digest: str = ""
    code_changed: bool = False
    moved: str | None = None
    trace: Untraced = UNTRACED
    listeners: list[Hears] = field(default_factory=list)
    _untold: list[Event] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        """The plan with all that results have added to it."""
        return self.state.plan

    @property
    def code_archive(self) -> str:
        """Where the code lies that this run's trials run."""
        return self.paths.changed_code_archive(self.code) if self.code_changed else self.paths.code_archive

    def append(self, *happened: Event) -> None:
        """Write events down, and apply them. They are on the disk after `sync`.

        Raises `StorageUnavailable` or `StudyHeld` when they cannot be written; nothing is applied then.
        """
        self.journal.append(*happened)
        for event in happened:
            self.state.apply(event)
        if self.listeners:
            self._untold.extend(happened)

    def reopen(self, cells: Iterable[str], by: str) -> None:
        """Let cells run again that have ended, on somebody's request.

        One that has its answer begins anew; the directory that it had is kept under another name.
        """
        for cell in cells:
            record = self.state.cells[cell]
            if not record.state.terminal:
                continue
            folder = f"{self.paths.root}/{record.trial_dir}"
            if record.state.answered and self.storage.sizes(folder):
                self.storage.move_dir(folder, f"{folder}.attempt-{record.attempts}")
            self.append(Reopened(cell, record.arm, record.seed, record.state, by))
        self.sync()

    def sync(self) -> None:
        """Make all that was appended durable; raises as `Journal.sync`."""
        with self.trace.span("write the journal") if self.journal.behind else nullcontext():
            self.journal.sync()
        if self.snapshots.is_due(self.journal.lines):
            self._keep_snapshot()
        if self._untold:
            told = tuple(self._untold)
            self._untold.clear()
            for listener in self.listeners:
                listener(told, self.state)

    def _keep_snapshot(self) -> None:
        mark = self.journal.mark
        if mark is not None:
            self.snapshots.write(mark, self.state)

    @classmethod
    def open(
        cls,
        storage: Storage,
        spec: StudySpec,
        plan: Plan,
        start: Start,
        *,
        found: RecordedStudy | None = None,
        clock: Callable[[], float] = time.time,
        trace: Untraced = UNTRACED,
    ) -> StudyRecord:
        """Create the study's record, or take up the one that is there.

        Args:
            found: what was read of it before; the journal is read again only if more was written since.

        Raises:
            ChangedStudy, ChangedCode: with all differences.
            StudyHeld: another driver has it.
            StudyError, StorageUnavailable: it cannot be read, or not be written. In all these cases nothing
                is written.
        """
        paths = StudyPaths.of(spec.name)
        storage.refuse_links_out(paths.root)
        moved, last = None, 0
        seen: JournalContents | None = None
        if start.fresh:
            moved, last = _move_away(storage, paths, start, clock)
        else:
            if found is None or found.journal.earlier:  # a driver reads all of it
                found = read_record(storage, paths)
            reconcile(found, spec, plan, start)
            seen = None if found is None else found.journal

        def last_driver() -> int:
            nonlocal seen
            seen = read_journal(storage, paths.journal, seen)
            return max(last, seen.last_driver)

        lease = Lease.acquire(storage, paths, start.owner, clock=clock, last_driver=last_driver)
        try:
            # again, now that nobody else can change it
            found = read_record(storage, paths, seen)
            taken = reconcile(found, spec, plan, start)
            first = start.code_hash if found is None else found.code_hash
            _write_start(storage, paths, spec, plan, start, taken.how)
            seen = None if found is None else found.journal
            journal = Journal(
                storage, paths.journal, clock, driver=lease.driver, hold=lease.verify, read=seen
            )
            state = fold(journal.contents.events, plan)
            digest = hashlib.sha256(taken.archive).hexdigest()
            code = taken.code, digest, taken.code != first
            snapshots = SnapshotWriter(storage, paths, plan)
            record = cls(storage, paths, journal, state, lease, snapshots, taken.how, *code, moved, trace)
            record._note_start(plan, taken, first)
        except BaseException:
            lease.release()
            raise
        return record

    def _note_start(self, plan: Plan, taken: Reconciled, first: str | None) -> None:
        before = self.journal.contents
        arms = tuple(arm.name for arm in plan.arms)
        self.append(StudyStarted(plan.hash, len(plan.cells), self.how, arms, before.by_driver()))
        if before.torn:
            text = f"cut off {before.torn} bytes of a line that was not finished"
            self.append(Noted(text, torn_bytes=before.torn))
        if before.late:
            self.append(Noted(f"{before.late} lines of a driver that had been replaced do not count"))
        if taken.code != (self.state.accepted_code[-1] if self.state.accepted_code else first):
            self.storage.write_atomic(self.paths.changed_code_archive(taken.code), taken.archive)
            self.append(Noted("changed code was accepted", code_hash=taken.code))
        elif taken.added:
            self.storage.write_atomic(self.code_archive, taken.archive)
            self.append(Noted("files that no trial had before were added to the code"))
        self.sync()

    def close(self) -> None:
        """Close the journal and give the lease back.

        A lease on a storage that is gone stays there: it is this process that tells whether it is held.
        """
        self.journal.close()
        if self.journal.fault is None:
            self._keep_snapshot()
            self.lease.release()
        elif self.storage.is_local:
            with suppress(StorageUnavailable):
                self.lease.release()


def reconcile(found: RecordedStudy | None, spec: StudySpec, plan: Plan, start: Start) -> Reconciled:
    """Compare a start with what is recorded. Writes nothing.

    Raises `ChangedStudy` or `ChangedCode` when it is another study, or other code.
    """
    if found is None:
        return Reconciled("new", start.code_hash, start.code_bytes)
    how = same_study(found, spec, start.extend)
    if how == "resume":
        _same_registration(found, plan)
    return _same_code(found, spec, plan, start, how)


def same_study(found: RecordedStudy, spec: StudySpec, extend: bool) -> How:
    """Return how a study goes on with what is recorded. Raises `ChangedStudy` when it is another one."""
    where = f"{found.storage.uri}/{found.paths.study_yaml}"
    hint = "use --fresh to start anew (the old directory is kept under another name)"
    try:
        old = frozen_view(found.study)
    except StudyError as error:
        message = f"the study on disk cannot be read by this version: {error.faults[0].message}"
        raise ChangedStudy(Fault(message, file=where, line=error.faults[0].line, hint=hint)) from error
    new = frozen_view(spec)
    lines = differences(old, new)
    if not lines:
        return "resume"
    only_more = extends_only(old, new)
    if only_more and extend:
        return "extend"
    if only_more:
        hint = "use --extend to add what is new, or --fresh to start anew"
    elif extend or (seeds_are_registered(old) and old["seeds"] != new["seeds"]):
        hint = f"{extension_hint(old, new)}; {hint}"
    faults = [Fault(f"changed since the study was started: {line}", file=where) for line in lines]
    raise ChangedStudy([*faults, Fault(f"{spec.name} is another study than the one on disk", hint=hint)])


def _same_registration(found: RecordedStudy, plan: Plan) -> None:
    """Refuse settings that no longer mean the same looks, levels, cells: another version may work them out
    otherwise.
    """
    where = f"{found.storage.uri}/{found.paths.plan_json}"
    hint = "use the version that started the study (env.json names it), or --fresh to start anew"
    if found.registered.hash == plan.hash:
        return
    lines = differences(found.registered.registered, plan.registered) or ["the cells have other identities"]
    faults = [Fault(f"registered before the first run, and different now: {line}", where) for line in lines]
    raise ChangedStudy([*faults, Fault("this version would not run the plan that was registered", hint=hint)])


def _same_code(found: RecordedStudy, spec: StudySpec, plan: Plan, start: Start, how: How) -> Reconciled:
    current, old, differing = found.current_code, b"", None
    with suppress(FileNotFoundError):
        old = found.storage.read_bytes(found.code_archive)
        differing = changes(old, start.code_bytes, spec, found.state_of(plan).imported)
    if current is not None and (current == start.code_hash if differing is None else not differing):
        archive = with_added(old, start.code_bytes)
        return Reconciled(how, current, archive, added=archive != old)
    records = found.state_of(plan).cells.values()
    failed = sum(record.state is TrialState.FAILED for record in records)
    if current is not None and not start.accept_code_change and not (start.retry_failed and failed):
        raise _changed(found, start, shown_changes(differing or ()), failed)
    return Reconciled(how, start.code_hash, start.code_bytes)


def _changed(
    found: RecordedStudy, start: Start, shown: Mapping[str, Sequence[str]], failed: int
) -> ChangedCode:
    where = f"{found.storage.uri}/{found.paths.root}"
    begun = [record for record in found.state.cells.values() if record.begun]
    archive = found.code_archive.rpartition("/")[2]
    mended = f"--retry-failed runs the {failed} failed cells again with it, " if failed else ""
    hint = (
        f"the same command with {mended}--accept-code-change goes on ({len(begun) - failed} of {len(begun)} "
        f"cells are of the old code, later ones are marked), --fresh starts anew; {archive} there holds the "
        "code as it was"
    )
    faults = [Fault(f"code: {what}", file=where, detail=tuple(lines)) for what, lines in shown.items()]
    message = "the code has changed since the study was started"
    return ChangedCode([*faults, Fault(message, file=where, value=start.code_hash[:12], hint=hint)])


def _write_start(
    storage: Storage, paths: StudyPaths, spec: StudySpec, plan: Plan, start: Start, how: How
) -> None:
    if how == "new":
        storage.delete_grown(paths.journal)  # of a start that did not get as far as its plan
        storage.write_atomic(paths.code_archive, start.code_bytes)
        env = json.dumps({"code_hash": start.code_hash, **start.env}, indent=1, default=str)
        storage.write_atomic(paths.env_json, env + "\n")
    said = spec.to_dict()
    said["stopping"]["version"] = rule_of(spec).version_of(spec)  # `auto` means another one some day
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    storage.write_atomic(paths.study_yaml, f"{_HEADER}{text}")
    storage.write_atomic(paths.plan_json, json.dumps(plan.to_json(), indent=1) + "\n")


def _move_away(
    storage: Storage, paths: StudyPaths, start: Start, clock: Callable[[], float]
) -> tuple[str | None, int]:
    """Where the old directory is now, and the number of the last lease there."""
    if not storage.exists(paths.plan_json):
        return None, 0

    def last_driver() -> int:
        with suppress(StudyError):  # of another version: it is moved away unread
            return read_journal(storage, paths.journal).last_driver
        return 0

    lease = Lease.acquire(storage, paths, start.owner, clock=clock, last_driver=last_driver)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock()))
    moved, count = f"{paths.root}.{stamp}", 1
    while storage.exists(moved):
        count += 1
        moved = f"{paths.root}.{stamp}-{count}"
    try:
        storage.move_dir(paths.root, moved)
    except BaseException:
        lease.release()
        raise
    storage.delete_file(StudyPaths(moved).lease)
    return moved, lease.driver
