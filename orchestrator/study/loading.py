"""Read a study: file, `extends`, command line, references, checks; every fault at once, with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import Fault, StudyError
from orchestrator.study import references
from orchestrator.study.designs import Arm
from orchestrator.study.entrypoint import EntrypointSource, locate
from orchestrator.study.faults import Problem
from orchestrator.study.loggernames import lacking
from orchestrator.study.merging import MAPPING, Merged, apply_override, mapping_merged, read_merged
from orchestrator.study.secrets import secret_problems
from orchestrator.study.spec import StudySpec
from orchestrator.study.validation import validate


@dataclass(frozen=True)
class LoadedStudy:
    """A sound study with its arms, the file it came from, and its merged data before validation (references
    kept).

    `entrypoint` is where the user's code is, when `load_study` was asked to look for it.
    """

    spec: StudySpec
    arms: tuple[Arm, ...]
    source: Path
    raw: dict[str, Any]
    entrypoint: EntrypointSource | None = None


def load_study(path: Path, overrides: Sequence[str] = (), *, cwd: Path | None = None) -> LoadedStudy:
    """Load and check a study file.

    Args:
        path: the study file.
        overrides: `key=value` settings with the full dotted path, such as `baseline.optim.lr=3e-4`.
        cwd: look for the entrypoint's code too, from this directory and then from the file's.

    Raises:
        StudyError: with all faults, each with file, line, dotted field, value and what is valid.
    """
    path = Path(path)
    return _checked(read_merged(path), path, overrides, cwd)


def load_mapping(
    study: Mapping[str, Any], folder: Path, overrides: Sequence[str] = (), *, cwd: Path | None = None
) -> LoadedStudy:
    """Load and check a study that a program has put together: the keys of a study file, as plain data.

    Paths in it are relative to `folder`. The rest is as in `load_study`.
    """
    return _checked(mapping_merged(study, folder), folder / MAPPING, overrides, cwd)


def _checked(merged: Merged, path: Path, overrides: Sequence[str], cwd: Path | None) -> LoadedStudy:
    problems = [problem for override in overrides for problem in apply_override(merged, override)]
    secret = secret_problems(merged.data)
    if secret:  # alone: other faults show values
        raise StudyError([_fault(merged, problem, path) for problem in secret])
    sections = [key for key in merged.data if key not in ("baseline", "components")]
    data, unresolved = references.resolve(merged.data, sections)
    problems += unresolved
    spec, arms, invalid = validate(data)
    known = {problem.path for problem in problems}
    problems += [problem for problem in invalid if problem.path not in known]
    faults = [_fault(merged, problem, path) for problem in problems]
    source = None
    if cwd is not None:
        unsound = {problem.path for problem in problems}
        if isinstance(data.get("entrypoint"), str) and ("entrypoint",) not in unsound:
            try:
                source = locate(data["entrypoint"], path, cwd)
            except StudyError as error:
                faults += [_placed(merged, fault, "entrypoint") for fault in error.faults]
        for key in ("datamodule", "datasets"):
            if isinstance(data.get(key), str) and (key,) not in unsound:
                faults += _missing_code(merged, data[key], key, path, cwd)
        if ("monitor",) not in unsound:
            faults += _missing_monitors(merged, data.get("monitor"), path, cwd)
        if ("loggers",) not in unsound:
            faults += _lackings(merged, data.get("loggers"), path)
    if faults or spec is None:
        raise StudyError(sorted(faults, key=lambda fault: (fault.file or "", fault.line or 0)))
    return LoadedStudy(spec, arms, path, merged.data, source)


def _fault(merged: Merged, problem: Problem, path: Path) -> Fault:
    fault = merged.fault(problem)
    if fault.message.startswith("command line: "):
        return Fault(
            fault.message.removeprefix("command line: "),
            "command line",
            None,
            fault.field,
            fault.value,
            fault.hint,
        )
    return fault if fault.file else problem.fault(str(path))


def _missing_monitors(merged: Merged, monitors: Any, path: Path, cwd: Path) -> list[Fault]:
    """Monitors of the user's own, module:Class, whose code is not there."""
    faults: list[Fault] = []
    for name in monitors if isinstance(monitors, (list, tuple)) else ():
        if ":" in name:
            faults += _missing_code(merged, name, "monitor", path, cwd)
    return faults


def _missing_code(merged: Merged, name: str, field: str, path: Path, cwd: Path) -> list[Fault]:
    """What is wrong with code of the user's own, as far as can be seen without importing it."""
    try:
        locate(name, path, cwd)
    except StudyError as error:
        return [_placed(merged, fault, field) for fault in error.faults]
    return []


def _lackings(merged: Merged, loggers: Any, path: Path) -> list[Fault]:
    """Loggers whose package is not installed here: nodes of a cluster have the same environment."""
    missing = [(name, what) for name in loggers or () if (what := lacking(name)) is not None]
    return [
        _placed(
            merged,
            Fault(
                f"the logger {name!r} is not installed",
                str(path),
                None,
                "loggers",
                name,
                f"pip install {what} on every node, or take it out",
            ),
            "loggers",
        )
        for name, what in missing
    ]


def _placed(merged: Merged, fault: Fault, field: str) -> Fault:
    """A fault of the user's code says where the study names it, unless it has a place of its own."""
    if fault.line is not None:
        return replace(fault, field=field)
    place = merged.place((field,))
    file, line = (place.file, place.line) if place else (fault.file, None)
    return Fault(fault.message, file, line, field, fault.value, fault.hint)
