"""What is on disk of a study, read once: for a start as well as for status, logs and reports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import Fault, StudyError
from orchestrator.record.events import Noted
from orchestrator.record.journal import JournalContents, read_journal
from orchestrator.record.jsonlines import from_json
from orchestrator.record.layout import StudyPaths
from orchestrator.record.state import StudyState, fold
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Plan


@dataclass(frozen=True)
class RecordedStudy:
    """A study as its files were when they were read.

    `spec_text`: study.yaml; `plan_data`: plan.json; `code_hash`: of the first start, None when env.json does
    not tell; `journal`: with its position, so that it is read again only after more was written. What is
    worked out of these is worked out once; it raises `StudyError` where they are damaged.
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
        try:
            return dict(yaml.safe_load(self.spec_text))
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise _damaged(self.storage, self.paths, error) from error

    @cached_property
    def registered(self) -> Plan:
        """The plan as it was registered, without what results have added."""
        try:
            return Plan.from_json(from_json(self.plan_data))
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self.storage, self.paths, error) from error

    @cached_property
    def state(self) -> StudyState:
        """What the journal says about the registered plan."""
        return self.state_of(self.registered)

    def state_of(self, plan: Plan) -> StudyState:
        """Return what the journal says about `plan`, which may have more arms and seeds than the registered
        one.
        """
        return fold(self.journal.events, plan)

    @property
    def plan(self) -> Plan:
        """The plan with all that results have added."""
        return self.state.plan

    @property
    def current_code(self) -> str | None:
        """The hash of the code that was accepted last, or else of the first start."""
        noted = (event.code_hash for event in self.journal.events if isinstance(event, Noted))
        return [self.code_hash, *filter(None, noted)][-1]

    def progress(self) -> dict[str, Any] | None:
        """Read what the driver last said about running trials: cell -> length, value, lane, attempt."""
        try:
            progress = from_json(self.storage.read_bytes(self.paths.progress))
        except (FileNotFoundError, ValueError):
            return None
        return progress if isinstance(progress, dict) else None

    def again(self) -> RecordedStudy:
        """Read what is there now; returns itself, with all that is worked out, when nothing has changed.

        Raises `StudyError` when the study is gone, or its record is damaged.
        """
        found = read_record(self.storage, self.paths, self.journal)
        if found is None:
            raise _gone(self.storage, self.paths.root)
        # the same object when nothing was written since: journals are long
        same = found.journal is self.journal and vars(found).items() <= vars(self).items()
        return self if same else found


def read_record(
    storage: Storage, paths: StudyPaths, before: JournalContents | None = None
) -> RecordedStudy | None:
    """Read the files of a study; None when there is none.

    `before`: what was read of the journal earlier; it is read again only if more was written since. Raises
    `StudyError` when the record is damaged, or of a version that this one does not read.
    """
    try:
        plan = storage.read_bytes(paths.plan_json)
    except FileNotFoundError:
        return None
    try:
        text = storage.read_text(paths.study_yaml)
    except (FileNotFoundError, ValueError) as error:
        raise _damaged(storage, paths, error) from error
    journal = read_journal(storage, paths.journal, before)
    return RecordedStudy(storage, paths, text, plan, _first_code(storage, paths), journal)


def read_study(storage: Storage, name_or_path: str) -> RecordedStudy:
    """Read everything that is known about a study, running or not. Raises `StudyError` when there is none."""
    storage, paths = find_study(storage, name_or_path)
    found = read_record(storage, paths)
    if found is None:  # it went away in between
        raise _gone(storage, name_or_path)
    _ = found.spec, found.state  # damage is told now
    return found


def find_study(storage: Storage, name_or_path: str) -> tuple[Storage, StudyPaths]:
    """Find a study by its name below the storage, or by the path of its directory.

    Raises `StudyError` when there is none, with the names of the studies that are there.
    """
    paths = StudyPaths.of(name_or_path)
    if storage.exists(paths.plan_json):
        return storage, paths
    if storage.exists(StudyPaths(name_or_path.strip("/")).plan_json) and ".." not in name_or_path:
        return storage, StudyPaths(name_or_path.strip("/"))  # a directory that --fresh has renamed
    folder = Path(name_or_path).expanduser().absolute()
    if folder.name and (folder / "plan.json").is_file():
        return Storage.open(folder.parent), StudyPaths(folder.name)
    there = [entry.name for entry in storage.list() if storage.exists(StudyPaths(entry.name).plan_json)]
    hint = f"there are: {', '.join(there)}" if there else "there is no study yet"
    raise _gone(storage, name_or_path, hint)


def _gone(storage: Storage, name: str, hint: str | None = None) -> StudyError:
    message = f"no study in {storage.uri} has this name"
    return StudyError(Fault(message, field="study", value=name, hint=hint))


def _first_code(storage: Storage, paths: StudyPaths) -> str | None:
    try:
        env = from_json(storage.read_bytes(paths.env_json))
    except (FileNotFoundError, ValueError):
        return None
    found = env.get("code_hash") if isinstance(env, dict) else None
    return None if found is None else str(found)


def _damaged(storage: Storage, paths: StudyPaths, error: Exception) -> StudyError:
    where = f"{storage.uri}/{paths.root}"
    return StudyError(Fault(f"the record of this study is damaged: {error!r}", file=where))
