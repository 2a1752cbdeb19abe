"""The record of one study: made on the first start, reconciled with study file and code on every other.

A study exists once its `plan.json` does, which is written last. Until then, a start begins anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.errors import ChangedCode, ChangedStudy, Fault, StorageUnavailable
from orchestrator.record.history import History, fold
from orchestrator.record.journal import Journal, from_json, read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.lease import Lease
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Plan
from orchestrator.study.identity import (
    differences,
    extends_only,
    extension_hint,
    frozen_view,
    seeds_are_registered,
)
from orchestrator.study.spec import StudySpec

_HEADER = "# The study as it was started: resolved, with every default. Written by the orchestrator.\n"


@dataclass(frozen=True)
class Start:
    """How a study is started: what is allowed, and what is recorded about the start.

    `code_bytes`: the packed code; `env`: `collect_env`; `owner`: who drives it, for the lease.
    """

    code_hash: str
    code_bytes: bytes
    env: Mapping[str, Any]
    fresh: bool = False
    extend: bool = False
    accept_code_change: bool = False
    owner: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StudyRecord:
    """A study that this process drives.

    `how`: new, resume or extend; `code_changed`: the code is not that of the first start, so that cells which
    end from now on are marked; `moved`: where `fresh` has put the old directory.
    """

    storage: Storage
    paths: StudyPaths
    plan: Plan
    journal: Journal
    history: History
    lease: Lease
    how: str
    code_changed: bool = False
    moved: str | None = None

    @classmethod
    def open(
        cls,
        storage: Storage,
        spec: StudySpec,
        plan: Plan,
        code_hash: str,
        *,
        fresh: bool = False,
        extend: bool = False,
        accept_code_change: bool = False,
        code_bytes: bytes = b"",
        env: Mapping[str, Any] | None = None,
        owner: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> StudyRecord:
        """Create the study's record, or take up the one that is there.

        `fresh` renames an existing directory; `extend` accepts more arms and seeds; `accept_code_change`
        other code. Raises `ChangedStudy` and `ChangedCode` (with all differences), `StudyHeld`, and
        `StudyError` or `StorageUnavailable` when the storage cannot be written; nothing is written then.
        """
        start = Start(code_hash, code_bytes, env or {}, fresh, extend, accept_code_change, owner)
        paths = StudyPaths.of(spec.name)
        storage.check_writable()
        storage.refuse_links_out(paths.root)
        if not fresh:
            reconcile(storage, paths, spec, plan, start)
        moved, last = _move_away(storage, paths, start, clock) if fresh else (None, 0)
        lease = Lease.acquire(storage, paths, start.owner, clock=clock, above=last)
        try:
            # again, now that nobody else can change it
            how = reconcile(storage, paths, spec, plan, start)
            return cls._take_up(storage, paths, spec, plan, start, lease, how, moved, clock)
        except BaseException:
            lease.release()
            raise

    @classmethod
    def _take_up(
        cls,
        storage: Storage,
        paths: StudyPaths,
        spec: StudySpec,
        plan: Plan,
        start: Start,
        lease: Lease,
        how: str,
        moved: str | None,
        clock: Callable[[], float],
    ) -> StudyRecord:
        if how == "new":
            storage.delete_grown(paths.journal)  # of a start that did not get as far as its plan
            storage.write_atomic(paths.code_archive, start.code_bytes)
            env = json.dumps({"code_hash": start.code_hash, **start.env}, indent=1, default=str)
            storage.write_atomic(paths.env_json, env + "\n")
        storage.write_atomic(paths.study_yaml, _HEADER + _dump(spec.to_dict()))
        storage.write_atomic(paths.plan_json, json.dumps(plan.to_json(), indent=1) + "\n")
        journal = Journal.open(storage, paths.journal, clock, driver=lease.driver, hold=lease.verify)
        history = fold(journal.contents.events, plan)
        _note_start(journal, plan, how)
        first = _first_code(storage, paths)
        if start.code_hash != (history.accepted_code[-1] if history.accepted_code else first):
            storage.write_atomic(paths.changed_code_archive(start.code_hash), start.code_bytes)
            journal.append("note", text="changed code was accepted", code_hash=start.code_hash)
            history.accepted_code.append(start.code_hash)
        journal.sync()
        changed = start.code_hash != first
        return cls(storage, paths, plan, journal, history, lease, how, changed, moved)

    def close(self) -> None:
        """Close the journal and give the lease back.

        A lease on a storage that is gone stays there: it is this process that tells whether it is held.
        """
        self.journal.close()
        if self.journal.fault is None:
            self.lease.release()
        elif self.storage.is_local:
            with suppress(StorageUnavailable):
                self.lease.release()


def reconcile(storage: Storage, paths: StudyPaths, spec: StudySpec, plan: Plan, start: Start) -> str:
    """`new`, `resume` or `extend`; raises `ChangedStudy` or `ChangedCode`. Writes nothing."""
    if not storage.exists(paths.plan_json):
        return "new"
    how = _same_study(storage, paths, spec, start.extend)
    if how == "resume":
        _same_registration(storage, paths, plan)
    _same_code(storage, paths, start)
    return how


def _same_study(storage: Storage, paths: StudyPaths, spec: StudySpec, extend: bool) -> str:
    where = f"{storage.uri}/{paths.study_yaml}"
    hint = "use --fresh to start anew (the old directory is kept under another name)"
    try:
        old = frozen_view(StudySpec.model_validate(yaml.safe_load(storage.read_text(paths.study_yaml))))
    except (ValidationError, yaml.YAMLError, OSError, ValueError) as error:
        fault = Fault(f"the study on disk cannot be read by this version: {error}", file=where, hint=hint)
        raise ChangedStudy(fault) from error
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


def _same_registration(storage: Storage, paths: StudyPaths, plan: Plan) -> None:
    """The same settings must still mean the same looks, levels, cells: another version may work them out
    otherwise.
    """
    where = f"{storage.uri}/{paths.plan_json}"
    hint = "use the version that started the study (env.json names it), or --fresh to start anew"
    try:
        old = from_json(storage.read_bytes(paths.plan_json))
        registered, old_hash = dict(old.get("registered", {})), old["hash"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        fault = Fault(f"the plan on disk cannot be read: {error!r}", file=where, hint=hint)
        raise ChangedStudy(fault) from error
    if old_hash == plan.hash:
        return
    lines = differences(registered, plan.registered) or ["the cells have other identities"]
    faults = [Fault(f"registered before the first run, and different now: {line}", where) for line in lines]
    raise ChangedStudy([*faults, Fault("this version would not run the plan that was registered", hint=hint)])


def _same_code(storage: Storage, paths: StudyPaths, start: Start) -> None:
    notes = [event for event in read_journal(storage, paths.journal).events if event.get("code_hash")]
    current = str(notes[-1]["code_hash"]) if notes else _first_code(storage, paths)
    if current is None or start.code_hash == current or start.accept_code_change:
        return
    hint = (
        "put the code back (code.tar.gz in the study's directory has it), use --accept-code-change to go on "
        "(later cells are marked), or --fresh to start anew"
    )
    message = "the Python code has changed since the study was started"
    raise ChangedCode(
        Fault(message, file=f"{storage.uri}/{paths.root}", value=start.code_hash[:12], hint=hint)
    )


def _first_code(storage: Storage, paths: StudyPaths) -> str | None:
    try:
        env = from_json(storage.read_bytes(paths.env_json))
    except (FileNotFoundError, ValueError):
        return None
    found = env.get("code_hash") if isinstance(env, dict) else None
    return None if found is None else str(found)


def _move_away(
    storage: Storage, paths: StudyPaths, start: Start, clock: Callable[[], float]
) -> tuple[str | None, int]:
    """Where the old directory is now, and the number of the last lease there."""
    if not storage.exists(paths.plan_json):
        return None, 0
    lease = Lease.acquire(storage, paths, start.owner, clock=clock)
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


def _note_start(journal: Journal, plan: Plan, how: str) -> None:
    arms = [arm.name for arm in plan.arms]
    taken = journal.contents.by_driver()
    cells = len(plan.cells)
    journal.append("plan", plan_hash=plan.hash, cells=cells, arms=arms, reason=how, taken=taken)
    if journal.torn_bytes:
        text = f"cut off {journal.torn_bytes} bytes of a line that was not finished"
        journal.append("note", text=text, torn_bytes=journal.torn_bytes)
    if journal.contents.late:
        text = f"{journal.contents.late} lines of a driver that had been replaced do not count"
        journal.append("note", text=text)


def _dump(spec: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True))
