"""Read a study: file, `extends`, command line, references, checks; every fault at once, with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from orchestrator.errors import Fault, StudyError
from orchestrator.study import references
from orchestrator.study.designs import Arm
from orchestrator.study.entrypoint import EntrypointSource, locate
from orchestrator.study.faults import Path, Problem, dotted, nearest, show
from orchestrator.study.names import lacking
from orchestrator.study.secrets import secret_problems
from orchestrator.study.spec import StudySpec
from orchestrator.study.validation import known_keys, validate
from orchestrator.study.yamlfile import MAX_CHARACTERS, Document, Place, parse_yaml

COMMAND_LINE = "command line"
MAX_EXTENDS = 20
MAPPING = "the study's mapping"
"""The place of what no file says."""


@dataclass
class Merged:
    """The merged study as plain data, and the place that each value comes from."""

    data: dict[str, Any]
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place | None:
        """Where the value, or the nearest value around it, was written."""
        for length in range(len(path), -1, -1):
            place = self.places.get(path[:length])
            if place is not None:
                return place
        return None

    def fault(self, problem: Problem) -> Fault:
        """Return the problem with file and line."""
        place = self.place(problem.path)
        return problem.fault(place.file, place.line) if place else problem.fault()


def read_merged(file: FilePath) -> Merged:
    """Read a study file and everything that it extends.

    Raises:
        StudyError: a file that cannot be read, is no YAML mapping, or extends itself.
    """
    return _read(file, [], MAX_CHARACTERS)


def mapping_merged(study: Mapping[str, Any], folder: FilePath) -> Merged:
    """Return a study as a mapping of plain data, and what it extends; paths are relative to `folder`.

    Raises:
        StudyError: as `read_merged`; also for values that a study file cannot hold.
    """
    file = folder / MAPPING
    try:
        text = json.dumps(study, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        hint = "a study is plain data: mappings, lists, text, numbers, true, false and null"
        raise StudyError(
            Fault(f"cannot be written into a study file: {error}", file=MAPPING, hint=hint)
        ) from None
    merged = _joined(text, file, [], MAX_CHARACTERS)
    here = Place(MAPPING)
    merged.places = {path: here if one.file == str(file) else one for path, one in merged.places.items()}
    return merged


def _read(file: FilePath, chain: list[FilePath], room: int) -> Merged:
    return _joined(_text(file), file, chain, room)


def _joined(text: str, file: FilePath, chain: list[FilePath], room: int) -> Merged:
    """`room`: characters that this file and those that it extends may have together."""
    if chain and len(text) > room:
        message = f"the files that extend each other have more than {MAX_CHARACTERS:,} characters in all"
        raise StudyError(Fault(message, file=str(file)))
    document = parse_yaml(text, str(file))
    if document.data is None:
        raise StudyError(
            Fault("the study file is empty", file=str(file), hint="orchestrate init writes a first one")
        )
    if not isinstance(document.data, dict):
        message = "a study file is a mapping of keys such as name, entrypoint, baseline"
        raise StudyError(Fault(message, file=str(file), line=1, value=show(document.data)))
    parent = document.data.pop("extends", None)
    merged = Merged(document.data, dict(document.places))
    if parent is None:
        return merged
    line = document.places[("extends",)].line
    try:
        return _merge(_parent(parent, file, line, chain, room - len(text)), merged)
    except StudyError as error:
        raise StudyError([_from(fault, file, line) for fault in error.faults]) from None


def _parent(parent: Any, file: FilePath, line: int | None, chain: list[FilePath], room: int) -> Merged:
    def refuse(message: str, hint: str | None = None) -> StudyError:
        return StudyError(Fault(message, str(file), line, "extends", show(parent), hint))

    if not isinstance(parent, str) or not parent or "\0" in parent:
        raise refuse("must be the path of a study file, relative to this one")
    if "${" in parent:
        raise refuse("cannot hold a reference: the files are joined before references are resolved")
    chain = [*chain, file.resolve()]
    base = file.parent / parent
    try:
        resolved, exists = base.resolve(), base.is_file()
    except (OSError, ValueError, RuntimeError):
        resolved, exists = base, False
    if resolved in chain:
        names = " → ".join(part.name for part in [*chain[chain.index(resolved) :], resolved])
        raise refuse(f"the files extend each other in a circle: {names}")
    if len(chain) > MAX_EXTENDS:
        raise refuse(f"more than {MAX_EXTENDS} files extend each other")
    if not exists:
        raise refuse(f"there is no file {base}", hint=f"the path is relative to {file.parent}")
    return _read(base, chain, room)


def _from(fault: Fault, file: FilePath, line: int | None) -> Fault:
    """Return a fault of an extended file says who asked for that file."""
    if fault.file == str(file) or fault.hint:
        return fault
    return Fault(
        fault.message, fault.file, fault.line, fault.field, fault.value, f"extended by {file}:{line}"
    )


def _text(file: FilePath) -> str:
    try:
        if file.is_dir():
            raise StudyError(Fault("is a directory, not a study file", file=str(file)))
        if file.exists() and not file.is_file():  # a pipe or a device may never end
            raise StudyError(Fault("is no regular file", file=str(file)))
        with file.open("rb") as stream:
            data = stream.read(4 * MAX_CHARACTERS + 4)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise StudyError(Fault("is not UTF-8 text", file=str(file), line=line)) from None
    except FileNotFoundError:
        raise StudyError(Fault("there is no such file", file=str(file), hint=_other_files(file))) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyError(Fault(f"cannot be read: {reason}", file=str(file))) from None


def _other_files(file: FilePath) -> str | None:
    try:
        names = sorted(path.name for path in file.parent.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError:
        return f"there is no directory {file.parent} either"
    return nearest(file.name, names) if names else None


def _merge(base: Merged, over: Merged) -> Merged:
    data, places = dict(base.data), dict(base.places)
    _merge_into(data, over.data, (), places, over.places)
    places[()] = over.places[()]
    return Merged(data, places)


def _merge_into(
    base: dict[str, Any],
    over: Mapping[str, Any],
    path: Path,
    places: dict[Path, Place],
    new: Mapping[Path, Place],
) -> None:
    for key, value in over.items():
        at = (*path, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            base[key] = dict(base[key])
            _merge_into(base[key], value, at, places, new)
        else:
            _replace(base, key, value, at, places, new)


def _replace(
    base: dict[str, Any], key: str, value: Any, at: Path, places: dict[Path, Place], new: Mapping[Path, Place]
) -> None:
    for old in _paths(at, base.get(key)):
        places.pop(old, None)
    if value is None and key in base and _removable(at):
        del base[key]
        return
    base[key] = value
    places.update({path: new[path] for path in _paths(at, value) if path in new})


def _paths(at: Path, value: Any) -> Iterator[Path]:
    """Yield the path of a value and of everything in it."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths((*at, key), item)


def _removable(path: Path) -> bool:
    """`null` takes an inherited component, or an alternative of one, out of the study."""
    return path[0] == "components" and (len(path) == 2 or (len(path) == 4 and path[2] == "swap"))


def apply_override(merged: Merged, text: str) -> list[Problem]:
    """Set one `key=value` in place; the key is the full dotted path, the value is read as YAML."""
    key, equals, value_text = text.partition("=")
    key = key.strip()
    if not equals or not key:
        hint = "write key=value with the full dotted path, such as baseline.optim.lr=3e-4"
        return [Problem((), f"{COMMAND_LINE}: {text[:80]!r} is no setting", hint=hint)]
    try:
        value = parse_yaml(value_text, COMMAND_LINE).data
    except StudyError as error:
        first = error.faults[0]
        message = f"{COMMAND_LINE}: {first.message}"
        return [
            Problem((key,), message, value=show(value_text), hint=first.hint or "put the value in quotes")
        ]
    path = _address(merged.data, key)
    if path is None:
        hint = nearest(key, _all_keys(merged.data), instead=known_keys((), merged.data))
        return [Problem((key,), f"{COMMAND_LINE}: there is no such setting", value=text[:80], hint=hint)]
    return _assign(merged, path, value)


def _assign(merged: Merged, path: Path, value: Any) -> list[Problem]:
    parent: Any = merged.data
    for part in path[:-1]:
        if parent.get(part) is None:
            parent[part] = {}
        parent = parent[part]
        if not isinstance(parent, dict):
            return []  # the file has something else here; validation says so
    current = parent.get(path[-1])
    if isinstance(value, dict) and (isinstance(current, dict) or known_keys(path, merged.data)):
        problems: list[Problem] = []
        for key, item in value.items():
            known = known_keys(path, merged.data)
            names = [*current, *known] if isinstance(current, dict) else known
            if key in names:
                problems += _assign(merged, (*path, key), item)
            else:
                message = f"{COMMAND_LINE}: there is no such setting"
                problems.append(Problem((*path, key), message, value=show(item), hint=nearest(key, names)))
        return problems
    here = Document(value, {path: Place(COMMAND_LINE)})
    _replace(parent, str(path[-1]), value, path, merged.places, here.places)
    return []


def _address(data: Mapping[str, Any], key: str) -> Path | None:
    """Return the path of a dotted key. Keys of a change hold dots themselves, so the longest match counts."""
    parts = key.split(".")
    path: Path = ()
    node: Any = data
    while parts:
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if isinstance(node, Mapping) and name in node:
                node = node[name]
                break
        else:
            name, length = parts[0], 1
            if name not in known_keys(path, data):
                return None
            node = None
        path = (*path, name)
        parts = parts[length:]
    return path


def _all_keys(data: Mapping[str, Any], path: Path = ()) -> Iterator[str]:
    """Every dotted key that an override may name: those of the file, and those of the format."""
    for key in dict.fromkeys([*data, *known_keys(path)]):
        at = (*path, key)
        yield dotted(at)
        value = data.get(key)
        yield from _all_keys(value if isinstance(value, Mapping) else {}, at)


@dataclass(frozen=True)
class LoadedStudy:
    """A sound study with its arms, the file it came from, and its merged data before validation (references
    kept).

    `entrypoint` is where the user's code is, when `load_study` was asked to look for it.
    """

    spec: StudySpec
    arms: tuple[Arm, ...]
    source: FilePath
    raw: dict[str, Any]
    entrypoint: EntrypointSource | None = None


def load_study(path: FilePath, overrides: Sequence[str] = (), *, cwd: FilePath | None = None) -> LoadedStudy:
    """Load and check a study file.

    Args:
        path: the study file.
        overrides: `key=value` settings with the full dotted path, such as `baseline.optim.lr=3e-4`.
        cwd: look for the entrypoint's code too, from this directory and then from the file's.

    Raises:
        StudyError: with all faults, each with file, line, dotted field, value and what is valid.
    """
    path = FilePath(path)
    return _checked(read_merged(path), path, overrides, cwd)


def load_mapping(
    study: Mapping[str, Any], folder: FilePath, overrides: Sequence[str] = (), *, cwd: FilePath | None = None
) -> LoadedStudy:
    """Load and check a study that a program has put together: the keys of a study file, as plain data.

    Paths in it are relative to `folder`. The rest is as in `load_study`.
    """
    return _checked(mapping_merged(study, folder), folder / MAPPING, overrides, cwd)


def _checked(merged: Merged, path: FilePath, overrides: Sequence[str], cwd: FilePath | None) -> LoadedStudy:
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


def _fault(merged: Merged, problem: Problem, path: FilePath) -> Fault:
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


def _missing_monitors(merged: Merged, monitors: Any, path: FilePath, cwd: FilePath) -> list[Fault]:
    """Return monitors of the user's own, module:Class, whose code is not there."""
    faults: list[Fault] = []
    for name in monitors if isinstance(monitors, (list, tuple)) else ():
        if ":" in name:
            faults += _missing_code(merged, name, "monitor", path, cwd)
    return faults


def _missing_code(merged: Merged, name: str, field: str, path: FilePath, cwd: FilePath) -> list[Fault]:
    """Return what is wrong with code of the user's own, as far as can be seen without importing it."""
    try:
        locate(name, path, cwd)
    except StudyError as error:
        return [_placed(merged, fault, field) for fault in error.faults]
    return []


def _lackings(merged: Merged, loggers: Any, path: FilePath) -> list[Fault]:
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
    """Return a fault of the user's code says where the study names it, unless it has a place of its own."""
    if fault.line is not None:
        return replace(fault, field=field)
    place = merged.place((field,))
    file, line = (place.file, place.line) if place else (fault.file, None)
    return Fault(fault.message, file, line, field, fault.value, fault.hint)
