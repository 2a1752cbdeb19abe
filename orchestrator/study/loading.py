"""Read a study: file, `extends`, command line, references, checks; every fault at once, with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from orchestrator.errors import Fault, StudyError
from orchestrator.study import references
from orchestrator.study.command import CommandSpec
from orchestrator.study.designs import Arm
from orchestrator.study.entrypoint import EntrypointSource, locate, refuse_what_cannot_run
from orchestrator.study.faults import Path, Problem, dotted, nearest, show, walk
from orchestrator.study.names import lacking
from orchestrator.study.program import locate_command
from orchestrator.study.secrets import secret_problems
from orchestrator.study.spec import StudySpec
from orchestrator.study.validation import known_keys, validate
from orchestrator.study.yamlfile import MAX_CHARACTERS, Place, parse_yaml

COMMAND_LINE = "command line"
MAX_EXTENDS = 20
MAPPING = "the study's mapping"
"""The place of what no file says."""
Places = Mapping[Path, Place]


@dataclass
class Merged:
    """The merged study as plain data, and the place that each value comes from."""

    data: dict[str, Any]
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Where the value, or the nearest value around it, was written."""
        around = (path[:length] for length in range(len(path), -1, -1))
        return next(self.places[one] for one in around if one in self.places)

    def fault(self, problem: Problem) -> Fault:
        """Return the problem with file and line."""
        place = self.place(problem.path)
        return problem.fault(place.file, place.line)

    def join(self, base: dict[str, Any], over: Mapping[str, Any], places: Places, path: Path = ()) -> None:
        """Put `over` on `base`, which is at `path`: mappings are joined, other values are replaced."""
        for key, value in over.items():
            at = (*path, key)
            if isinstance(value, dict) and isinstance(base.get(key), dict):
                self.join(base[key], value, places, at)
            else:
                self.put(base, value, places, at)

    def put(self, parent: dict[str, Any], value: Any, places: Places, path: Path) -> None:
        """Replace the value at `path`, which lies in `parent`; null takes an inherited component out."""
        key = str(path[-1])
        for old, _ in walk(parent.get(key), path):
            self.places.pop(old, None)
        if value is None and key in parent and _removable(path):
            del parent[key]
        else:
            parent[key] = value
            self.places.update({new: places[new] for new, _ in walk(value, path) if new in places})


def read_merged(file: FilePath) -> Merged:
    """Read a study file and everything that it extends.

    Raises:
        StudyError: a file that cannot be read, is no YAML mapping, or extends itself.
    """
    return _joined(_text(file), file)


def _joined(text: str, file: FilePath, chain: Sequence[FilePath] = (), room: int = MAX_CHARACTERS) -> Merged:
    """Join a file's text with what it extends. `room`: characters that all of them may have together."""
    if chain and len(text) > room:
        message = f"the files that extend each other have more than {MAX_CHARACTERS:,} characters in all"
        raise StudyError(Fault(message, file=str(file)))
    document = parse_yaml(text, str(file))
    if document.data is None:
        hint = "orchestrate init writes a first one"
        raise StudyError(Fault("the study file is empty", file=str(file), hint=hint))
    if not isinstance(document.data, dict):
        message = "a study file is a mapping of keys such as name, entrypoint, baseline"
        raise StudyError(Fault(message, file=str(file), line=1, value=show(document.data)))
    parent = document.data.pop("extends", None)
    if parent is None:
        return Merged(document.data, dict(document.places))
    line = document.places[("extends",)].line
    try:
        merged = _parent(parent, file, line, chain, room - len(text))
    except StudyError as error:
        raise StudyError([_from(fault, file, line) for fault in error.faults]) from None
    merged.join(merged.data, document.data, document.places)
    merged.places[()] = document.places[()]
    return merged


def _parent(parent: Any, file: FilePath, line: int | None, chain: Sequence[FilePath], room: int) -> Merged:
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
    return _joined(_text(base), base, chain, room)


def _from(fault: Fault, file: FilePath, line: int | None) -> Fault:
    """Let a fault of an extended file say who asked for that file."""
    known = fault.file == str(file) or fault.hint
    return fault if known else replace(fault, hint=f"extended by {file}:{line}")


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


def _removable(path: Path) -> bool:
    """Whether `null` takes what is there out of the study: a component, or an alternative of one."""
    return path[0] == "components" and (len(path) == 2 or (len(path) == 4 and path[2] == "swap"))


def apply_override(merged: Merged, text: str) -> list[Fault]:
    """Set one `key=value` in place; the key is the full dotted path, the value is read as YAML."""
    key, equals, value_text = text.partition("=")
    key = key.strip()
    if not equals or not key:
        hint = "write key=value with the full dotted path, such as baseline.optim.lr=3e-4"
        return [Fault(f"{text[:80]!r} is no setting", COMMAND_LINE, hint=hint)]
    try:
        value = parse_yaml(value_text, COMMAND_LINE).data
    except StudyError as error:
        first = error.faults[0]
        hint = first.hint or "put the value in quotes"
        return [Fault(first.message, COMMAND_LINE, None, key, show(value_text), hint)]
    path = _address(merged.data, key)
    if path is None:
        hint = nearest(key, _all_keys(merged.data), instead=known_keys((), merged.data))
        return [Fault("there is no such setting", COMMAND_LINE, None, key, text[:80], hint)]
    return list(_assign(merged, path, value))


def _assign(merged: Merged, path: Path, value: Any) -> Iterator[Fault]:
    parent: Any = merged.data
    for part in path[:-1]:
        if parent.get(part) is None:
            parent[part] = {}
        parent = parent[part]
        if not isinstance(parent, dict):
            return  # the file has something else here; validation says so
    current = parent.get(path[-1])
    if not isinstance(value, dict) or not (isinstance(current, dict) or known_keys(path, merged.data)):
        merged.put(parent, value, {path: Place(COMMAND_LINE)}, path)
        return
    for key, item in value.items():
        names = [*(current if isinstance(current, dict) else ()), *known_keys(path, merged.data)]
        if key in names:
            yield from _assign(merged, (*path, key), item)
        else:
            where, hint = dotted((*path, key)), nearest(key, names)
            yield Fault("there is no such setting", COMMAND_LINE, None, where, show(item), hint)


def _address(data: Mapping[str, Any], key: str) -> Path | None:
    """Return the path of a dotted key. Keys of a change hold dots themselves, so the longest match counts."""
    parts = key.split(".")
    path: Path = ()
    node: Any = data
    while parts:
        names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        found = next((name for name in names if isinstance(node, Mapping) and name in node), None)
        if found is None and parts[0] not in known_keys(path, data):
            return None
        node = None if found is None else node[found]
        path = (*path, found or parts[0])
        parts = parts[(found or "").count(".") + 1 :]
    return path


def _all_keys(data: Mapping[str, Any], path: Path = ()) -> Iterator[str]:
    """Yield every dotted key that an override may name: those of the file, and those of the format."""
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
    try:
        text = json.dumps(study, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        hint = "a study is plain data: mappings, lists, text, numbers, true, false and null"
        message = f"cannot be written into a study file: {error}"
        raise StudyError(Fault(message, file=MAPPING, hint=hint)) from None
    file = folder / MAPPING
    merged = _joined(text, file)
    here = Place(MAPPING)
    merged.places = {path: here if one.file == str(file) else one for path, one in merged.places.items()}
    return _checked(merged, file, overrides, cwd)


def _checked(merged: Merged, path: FilePath, overrides: Sequence[str], cwd: FilePath | None) -> LoadedStudy:
    faults = [fault for override in overrides for fault in apply_override(merged, override)]
    if secrets := secret_problems(merged.data):  # alone: other faults show values
        raise StudyError([merged.fault(problem) for problem in secrets])
    later = {"baseline", "components", "notify"} | (
        {"entrypoint"} if isinstance(merged.data.get("entrypoint"), dict) else set()
    )
    sections = [key for key in merged.data if key not in later]
    data, unresolved = references.resolve(merged.data, sections)
    spec, arms, invalid = validate(data)
    told = {(fault.field,) for fault in faults} | {problem.path for problem in unresolved}
    invalid = [problem for problem in invalid if problem.path not in told]
    faults += map(merged.fault, [*unresolved, *invalid])
    source = None if cwd is None else _look_for_code(merged, data, path, cwd, faults)
    if faults or spec is None:
        raise StudyError(sorted(faults, key=lambda fault: (fault.file or "", fault.line or 0)))
    return LoadedStudy(spec, arms, path, merged.data, source)


def _look_for_code(
    merged: Merged, data: Mapping[str, Any], path: FilePath, cwd: FilePath, faults: list[Fault]
) -> EntrypointSource | None:
    """Return where the entrypoint is; code and packages that are not there are added to `faults`."""
    unsound = {fault.field for fault in faults}
    found: dict[str, EntrypointSource] = {}
    named = [(key, data.get(key)) for key in ("entrypoint", "datamodule", "datasets")]
    own = data.get("monitor") if isinstance(data.get("monitor"), (list, tuple)) else ()
    named += [("monitor", name) for name in own or () if ":" in str(name)]
    if isinstance(data.get("entrypoint"), Mapping) and not any(
        str(at).startswith("entrypoint") for at in unsound
    ):
        try:
            found["entrypoint"] = locate_command(CommandSpec.model_validate(data["entrypoint"]), path, cwd)
        except StudyError as error:
            faults += [_placed(merged, fault, str(fault.field)) for fault in error.faults]
    for key, name in named:
        if isinstance(name, str) and key not in unsound:
            try:
                found[key] = locate(name, path, cwd)
                if key == "entrypoint":
                    refuse_what_cannot_run(found[key], name, path)
            except StudyError as error:
                faults += [_placed(merged, fault, key) for fault in error.faults]
    for name in data.get("loggers") or () if "loggers" not in unsound else ():
        if (what := lacking(name)) is not None:
            hint = f"pip install {what} on every node, or take it out"
            message = f"the logger {name!r} is not installed"
            faults.append(merged.fault(Problem(("loggers",), message, name, hint)))
    return found.get("entrypoint")


def _placed(merged: Merged, fault: Fault, field: str) -> Fault:
    """Let a fault of the user's code say where the study names it, unless it has a place of its own."""
    if fault.line is not None:
        return replace(fault, field=field)
    place = merged.place(tuple(field.split(".")))
    return replace(fault, file=place.file, line=place.line, field=field)
