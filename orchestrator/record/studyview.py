"""Reading a study without driving it: for status, logs and reports. Needs no lease and writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from orchestrator.errors import Fault, StudyError
from orchestrator.record.history import History, fold
from orchestrator.record.journal import from_json, read_journal
from orchestrator.record.layout import StudyPaths
from orchestrator.record.storage import Storage
from orchestrator.study.cells import Plan


class StudyView(NamedTuple):
    """What is on disk: the study file as plain data, the plan with all batches, the history, the last
    progress.
    """

    spec: dict[str, Any]
    plan: Plan
    history: History
    progress: dict[str, Any] | None


def find_study(storage: Storage, name_or_path: str) -> tuple[Storage, StudyPaths]:
    """A study by its name below the storage, or by the path of its directory.

    Raises `StudyError` with the names of the studies that are there.
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
    fault = Fault(f"no study in {storage.uri} has this name", field="study", value=name_or_path, hint=hint)
    raise StudyError(fault)


def read_study(storage: Storage, name_or_path: str) -> StudyView:
    """Everything that is known about a study, running or not. Raises `StudyError` when there is none."""
    storage, paths = find_study(storage, name_or_path)
    try:
        spec = yaml.safe_load(storage.read_text(paths.study_yaml))
        plan = Plan.from_json(from_json(storage.read_bytes(paths.plan_json)))
    except (FileNotFoundError, yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        where = f"{storage.uri}/{paths.root}"
        raise StudyError(Fault(f"the record of this study is damaged: {error!r}", file=where)) from error
    history = fold(read_journal(storage, paths.journal).events, plan)
    try:
        progress = from_json(storage.read_bytes(paths.progress))
    except (FileNotFoundError, ValueError):
        progress = None
    return StudyView(spec, history.plan, history, progress if isinstance(progress, dict) else None)
