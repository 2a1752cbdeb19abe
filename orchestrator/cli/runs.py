"""Finds the run directory that a word on the command line means."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Fault, InputError
from orchestrator.record.run import Run

STUDY_SUFFIXES = (".yaml", ".yml")
HINT = "give a run directory, the name of a study below --storage, or its study file"


def find_run(study: str | None, storage: str) -> Run:
    """The run that `study` means: a directory or URI, a study file, or a name below `storage`.

    Without a word it is the only study below `storage`.

    Raises:
        InputError: there is no such run, or several could be meant.
    """
    candidates = [_only_study(storage)] if study is None else _candidates(study, storage)
    for parent, name in candidates:
        run = _run(parent, name)
        if run is not None:
            return run
    looked = ", ".join(f"{parent.rstrip('/')}/{name}" for parent, name in candidates)
    raise InputError(Fault("no recorded study there", value=looked, hint=HINT))


def _candidates(study: str, storage: str) -> list[tuple[str, str]]:
    if study.endswith(STUDY_SUFFIXES) and Path(study).is_file():
        folder = Path(study).resolve().parent
        beside = [(str(folder.parent), folder.name)] if (folder / "plan.json").exists() else []
        return beside or [_from_study_file(Path(study))]
    parent, _, name = study.rstrip("/").rpartition("/")
    found = [(parent or ".", name)]
    return found if "://" in study else [*found, (storage, study)]


def _from_study_file(path: Path) -> tuple[str, str]:
    from orchestrator.study.loading import load_study

    spec = load_study(path).spec
    return spec.storage, spec.name


def _only_study(storage: str) -> tuple[str, str]:
    from orchestrator.record.storage import Storage

    names = [
        entry.name for entry in Storage.open(storage).list() if entry.is_dir and _run(storage, entry.name)
    ]
    if len(names) == 1:
        return storage, names[0]
    message = (
        "no study is recorded there" if not names else f"several studies are recorded: {', '.join(names)}"
    )
    raise InputError(Fault(message, field="--storage", value=storage, hint=HINT))


def _run(parent: str, name: str) -> Run | None:
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.storage import Storage

    if not name or {".", ".."} & set(name.split("/")):
        return None
    storage, paths = Storage.open(parent), StudyPaths(name)
    return Run(storage, paths) if storage.exists(paths.plan_json) else None
