"""From a study file to a plan, with all faults of file, arms and entrypoint at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import InputError, StudyError

if TYPE_CHECKING:
    from orchestrator.study.cells import Plan
    from orchestrator.study.entrypoint import EntrypointSource
    from orchestrator.study.loading import LoadedStudy


@dataclass(frozen=True)
class PreparedStudy:
    """A study that can be run: everything that can be checked without running user code has been checked."""

    loaded: LoadedStudy
    plan: Plan
    entrypoint: EntrypointSource


def prepare(config: Path, overrides: Sequence[str] | None) -> PreparedStudy:
    """Load and check a study. Writes nothing, imports no user code.

    Raises:
        StudyError: with all faults.
        StorageUnavailable: a remote storage does not answer.
    """
    from orchestrator.record.layout import StudyPaths
    from orchestrator.record.storage import Storage
    from orchestrator.study.cells import make_plan
    from orchestrator.study.loading import load_study

    loaded = load_study(config, list(overrides or ()), cwd=Path.cwd())
    assert loaded.entrypoint is not None  # `cwd` asks for it
    try:
        storage = Storage.open(loaded.spec.storage)
        storage.check_writable()
    except InputError as error:
        raise StudyError([replace(fault, file=str(config)) for fault in error.faults]) from None
    storage.refuse_links_out(StudyPaths.of(loaded.spec.name).root)
    return PreparedStudy(loaded, make_plan(loaded.spec), loaded.entrypoint)
