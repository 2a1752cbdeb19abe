"""What is on disk of a study, read once: for a start as well as for status, logs and reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from orchestrator.errors import Fault, StudyError, UnreadableRecord
from orchestrator.record.events import Noted
from orchestrator.record.journal import JournalContents, Mark, read_journal
from orchestrator.record.jsonlines import from_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.reading import (
    DAMAGED,
    HINT,
    MOST_TOLD,
    nothing_thrown_away,
    read_json,
    telling,
    unreadable,
)
from orchestrator.record.snapshot import read_snapshot
from orchestrator.record.state import StudyState, fold
from orchestrator.record.storage import Storage
from orchestrator.study.plan import Plan
from orchestrator.study.registered import RULES, rule_of
from orchestrator.study.yamlfile import parse_yaml

if TYPE_CHECKING:
    from orchestrator.study.spec import StudySpec


@dataclass(frozen=True)
class _Metric:
    name: str
    mode: Literal["min", "max"]
    test: str | None = None


@dataclass(frozen=True)
class _Stopping:
    max: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    unit: str


@dataclass(frozen=True)
class _Outline:
    """What can be said of a study without the packages that it uses; all that is read of `spec` itself."""

    metric: _Metric
    stopping: _Stopping
    seeds: list[int]
    storage: str


@dataclass(frozen=True)
class _Git:
    commit: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True)
class RecordedHardware:
    """The machine that a study was started on, as far as it could be told."""

    cpu: str | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    gpus: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class StudyFileThen:
    """The study file of the first start: where it lay, and the SHA-256 of what it said."""

    path: str
    sha256: str


@dataclass(frozen=True)
class RecordedEnvironment:
    """What env.json tells of the first start; None where an earlier version has not written it.

    `address`: of the cluster, None: Ray was started with it; `on_ray`: whether trials were Ray's workers, and
    not threads of one process; `packages`: name -> version; `by`: who started it, user@host; `study_file`:
    None also where a program has put the study together.
    """

    code_hash: str | None = None
    git: _Git | None = None
    python: str | None = None
    address: str | None = None
    on_ray: bool | None = None
    packages: dict[str, str] = field(default_factory=dict)
    hardware: RecordedHardware = RecordedHardware()
    by: str | None = None
    study_file: StudyFileThen | None = None


_OUTLINE = TypeAdapter(_Outline)
_ENVIRONMENT = TypeAdapter(RecordedEnvironment)
_PROGRESS = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class RecordedStudy:
    """A study as its files were when they were read.

    `spec_text`: study.yaml; `plan_data`: plan.json; `code_hash`: of the first start, None when env.json does
    not tell; `journal`: with its position, so that it is read again only after more was written. What is
    worked out of these is worked out once; it raises `UnreadableRecord` where they are damaged.
    """

    storage: Storage
    paths: StudyPaths
    spec_text: str
    plan_data: bytes
    code_hash: str | None
    journal: JournalContents

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The study file as plain data, every default filled in."""
        with telling(self.storage, self.paths.study_yaml), self._of_study_yaml():
            found: dict[str, Any] = parse_yaml(self.spec_text, "", written=True).data
            _OUTLINE.validate_python(found)
        if found["stopping"].get("version", "auto") == "auto":  # written before there was such a key
            version = registered_version(self.plan_data, found["stopping"].get("rule"))
            found["stopping"]["version"] = 1 if version is None else version
        return found

    @cached_property
    def study(self) -> StudySpec:
        """The study as it was started; raises `UnreadableRecord` also where a package of it is missing."""
        from orchestrator.study.validation import read_spec

        with self._of_study_yaml():
            return read_spec(self.spec)

    @contextmanager
    def _of_study_yaml(self) -> Iterator[None]:
        """Let faults name study.yaml."""
        try:
            yield
        except UnreadableRecord:
            raise
        except StudyError as error:
            file = f"{self.storage.uri}/{self.paths.study_yaml}"
            told = [
                replace(fault, message=f"{DAMAGED}: {fault.message}", file=file, hint=fault.hint or HINT)
                for fault in error.faults[:MOST_TOLD]
            ]
            raise UnreadableRecord(told) from error

    @cached_property
    def registered(self) -> Plan:
        """The plan as it was registered, without what results have added."""
        with telling(self.storage, self.paths.plan_json):
            return Plan.from_json(from_json(self.plan_data))

    @cached_property
    def state(self) -> StudyState:
        """What the journal says about the registered plan."""
        return self.state_of(self.registered)

    def state_of(self, plan: Plan) -> StudyState:
        """Return what the journal says about `plan`, which may have more arms and seeds than the registered
        one.
        """
        return fold(self._whole_journal.events, plan)

    @cached_property
    def _whole_journal(self) -> JournalContents:
        """The journal with what a snapshot has spared us."""
        return read_journal(self.storage, self.paths.journal) if self.journal.earlier else self.journal

    @property
    def plan(self) -> Plan:
        """The plan with all that results have added."""
        return self.state.plan

    @property
    def current_code(self) -> str | None:
        """The hash of the code that was accepted last, or else of the first start."""
        accepted = self._accepted
        return accepted[-1] if accepted else self.code_hash

    @property
    def _accepted(self) -> list[str]:
        noted = (event.code_hash for event in self._whole_journal.events if isinstance(event, Noted))
        return [code for code in noted if code]

    @property
    def code_archive(self) -> str:
        """Where the code lies that was accepted last, or else that of the first start."""
        accepted = self._accepted
        return self.paths.changed_code_archive(accepted[-1]) if accepted else self.paths.code_archive

    def progress(self) -> dict[str, Any] | None:
        """Read what the driver last said about running trials: cell -> length, value, lane, attempt (`waits`:
        what others wait for).
        """
        try:
            return read_json(self.storage, self.paths.progress, _PROGRESS)
        except (FileNotFoundError, UnreadableRecord):
            return None

    def again(self) -> RecordedStudy:
        """Read what is there now; returns itself, with all that is worked out, when nothing has changed.

        Raises `StudyError` when the study is gone, or its record is damaged.
        """
        found = read_record(self.storage, self.paths, self.journal)
        if found is None:
            raise _gone(self.storage, self.paths.root)
        files = ("spec_text", "plan_data", "code_hash")
        if any(getattr(found, name) != getattr(self, name) for name in files):
            return found
        return self if found.journal is self.journal else self._with(found.journal)

    def _with(self, journal: JournalContents) -> RecordedStudy:
        """Return the study with a later journal: what was worked out stays, the state goes on from here."""
        later, before, earlier = copy(self), self.journal.lines, self.journal.earlier
        vars(later).update(journal=journal)
        vars(later).pop("_whole_journal", None)
        state = vars(later).pop("state", None)
        if state is not None and (journal.earlier, journal.lines[: len(before)]) == (earlier, before):
            new = [line.event for line in journal.lines[len(before) :]]
            state = state.later(new, earlier + len(before))
            if state is not None:
                vars(later).update(state=state)
        return later


def read_record(
    storage: Storage, paths: StudyPaths, before: JournalContents | None = None, mark: Mark | None = None
) -> RecordedStudy | None:
    """Read the files of a study; None when there is none.

    `before`: what was read of the journal earlier; it is read again only if more was written since. `mark`:
    what is before it in the journal is passed over, if it is one of this journal. Raises
    `StudyError` when the record is damaged, or of a version that this one does not read.
    """
    try:
        plan = storage.read_bytes(paths.plan_json)
    except FileNotFoundError:
        return None
    try:
        with telling(storage, paths.study_yaml):
            text = storage.read_text(paths.study_yaml)
    except FileNotFoundError:
        raise unreadable(storage, paths.study_yaml, "", "the file is missing") from None
    journal = read_journal(storage, paths.journal, before, mark)
    code = read_environment(storage, paths).code_hash
    return RecordedStudy(storage, paths, text, plan, code, journal)


def as_begun(spec: StudySpec, storage: Storage, paths: StudyPaths | None) -> StudySpec:
    """Return a study with the version of its rule: where its file names none, the one that it began under.

    A study that has not begun (`paths`: None), or has begun under another rule, is under the newest.
    """
    stopping, version = spec.stopping, None
    if stopping.version == "auto":
        with suppress(FileNotFoundError):
            version = paths and registered_version(storage.read_bytes(paths.plan_json), stopping.rule)
        version = rule_of(spec).newest(spec) if version is None else version
        stopping = stopping.model_copy(update={"version": version})
    return spec.model_copy(update={"stopping": stopping})


def registered_version(plan_data: bytes, rule: object) -> int | None:
    """Return the version of that rule which a plan.json registers; None where it registers none of it.

    A damaged file has none either: who reads all of it tells.
    """
    with suppress(ValueError, KeyError, TypeError):
        registered = from_json(plan_data)["registered"]
        if registered["rule"] == rule:
            return int(registered.get(RULES.get(registered["rule"]).version_key, 1))
    return None


@nothing_thrown_away()
def read_study(storage: Storage, root: str) -> RecordedStudy:
    """Read everything that is known about the study in a directory, running or not.

    Raises `StudyError` when there is none, with the names of the studies that are there.
    """
    paths = StudyPaths(root)
    found = _from_snapshot(storage, paths) or read_record(storage, paths)
    if found is None:
        raise _gone(storage, root)
    _ = found.spec, found.state  # damage is told now
    return found


def _from_snapshot(storage: Storage, paths: StudyPaths) -> RecordedStudy | None:
    """Read what is kept of a study, and what is new; None where the whole journal has to be read."""
    kept = read_snapshot(storage, paths)
    found = None if kept is None else read_record(storage, paths, mark=kept.mark)
    if kept is None or found is None or not found.journal.earlier:
        return found
    with suppress(ValueError):
        before, new = kept.state(found.registered, found.plan_data), found.journal.lines
        state = before.later([line.event for line in new], found.journal.earlier)
        if state is not None:
            vars(found).update(state=state)
            return found
    return None


def _gone(storage: Storage, name: str) -> StudyError:
    message = f"no study in {storage.uri} has this name"
    there = [entry.name for entry in storage.list() if storage.exists(StudyPaths(entry.name).plan_json)]
    hint = f"there are: {', '.join(there)}" if there else "there is no study yet"
    return StudyError(Fault(message, field="study", value=name, hint=hint))


def read_environment(storage: Storage, paths: StudyPaths) -> RecordedEnvironment:
    """Return what env.json tells; nothing where there is none."""
    try:
        return read_json(storage, paths.env_json, _ENVIRONMENT)
    except FileNotFoundError:
        return RecordedEnvironment()
