"""Find the user's code without importing it: user code runs on workers, not in the command's own process."""

from __future__ import annotations

import ast
import importlib.util
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Fault, StudyError
from orchestrator.study.faults import nearest, show

PYTHON = (".py", ".pyi")
SCRIPTS = (
    *(".sh", ".bash", ".zsh", ".R", ".r", ".jl", ".lua"),
    *(".pl", ".rb", ".js", ".mjs", ".ts", ".m", ".scala"),
)
COMPILED = (
    *(".c", ".cc", ".cpp", ".cxx", ".cu", ".h", ".hpp", ".cuh"),
    *(".f90", ".go", ".rs", ".java", ".kt", ".swift"),
)
OF_COMMANDS = (*PYTHON, *SCRIPTS, *COMPILED)
"""Suffixes of what may be the code of a command."""


@dataclass(frozen=True)
class EntrypointSource:
    """Where an entrypoint lives: `root` has to be importable, `file` is the module's source.

    `named`: files of a command that are code whatever they are called.
    """

    module: str
    name: str
    root: Path
    file: Path
    named: tuple[str, ...] = ()


def locate(entrypoint: str, study_file: Path, cwd: Path) -> EntrypointSource:
    """Find `package.module:name` from `cwd`, then from the study file's directory, then among the installed.

    Nothing is imported: the module is parsed, and the name must be bound at its top level (a star import or
    a module `__getattr__` may bind anything).

    Raises:
        StudyError: no such module, a module that does not parse, or no such name in it.
    """
    module, _, name = entrypoint.partition(":")
    parts = module.split(".")
    if not all(part.isidentifier() for part in [*parts, name]):
        hint = "for example entrypoint: trials.digits:Digits"
        raise _error("must be module:name of a class or function", entrypoint, study_file, hint)
    found = find_module(parts, [cwd.resolve(), study_file.resolve().parent])
    if found is None:
        hint = _missing_hint(parts, study_file, cwd)
        raise _error(f"there is no module {module!r}", entrypoint, study_file, hint)
    root, file = found
    if file.suffix == ".py":
        _check_name(file, name, entrypoint, study_file)
    return EntrypointSource(module, name, root, file)


def _error(message: str, entrypoint: str, study_file: Path, hint: str | None) -> StudyError:
    return StudyError(Fault(message, str(study_file), None, "entrypoint", show(entrypoint), hint))


def find_module(parts: list[str], roots: list[Path]) -> tuple[Path, Path] | None:
    """Return where a module is imported from, one of `roots` or where packages lie, and its file."""
    return _find(parts, roots) or _find_installed(parts)


def _find(parts: list[str], roots: list[Path]) -> tuple[Path, Path] | None:
    for root in roots:
        base = root.joinpath(*parts)
        for file in (base / "__init__.py", base.with_name(parts[-1] + ".py")):
            if file.is_file():
                return root, file
    return None


def _find_installed(parts: list[str]) -> tuple[Path, Path] | None:
    """Look among the installed packages; asking for a top-level name imports nothing."""
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None or (len(parts) == 1 and not (spec.has_location and spec.origin)):
        return None
    if len(parts) == 1:
        file = Path(str(spec.origin))
        return (file.parent.parent if spec.submodule_search_locations else file.parent), file
    for location in spec.submodule_search_locations or ():
        found = _find(parts[1:], [Path(location)])
        if found is not None:
            return Path(location).parent, found[1]
    return None


def _missing_hint(parts: list[str], study_file: Path, cwd: Path) -> str:
    folder = study_file.resolve().parent
    for root in (cwd.resolve(), folder):
        modules = {path.stem for path in root.joinpath(*parts[:-1]).glob("*.py")} - {"__init__"}
        close = nearest(parts[-1], sorted(modules))
        if close.startswith("did you mean"):
            return f"did you mean {'.'.join([*parts[:-1], close[13:-1]])}?"
    places = dict.fromkeys([str(cwd.resolve()), str(folder)])
    return f"looked in {' and '.join(places)} and among the installed packages"


def _check_name(file: Path, name: str, entrypoint: str, study_file: Path) -> None:
    try:
        with tokenize.open(file) as stream:
            tree = ast.parse(stream.read())
    except SyntaxError as error:
        message = f"the module cannot be parsed: {error.msg}"
        raise StudyError(Fault(message, str(file), error.lineno, "entrypoint", show(entrypoint))) from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise _error(f"{file} cannot be read: {error}", entrypoint, study_file, None) from None
    bound = list(dict.fromkeys(found for found, _ in _bound(tree)))
    if name not in bound and "*" not in bound and "__getattr__" not in bound:
        public = [word for word in bound if not word.startswith("_")]
        raise _error(f"{file} does not define {name!r}", entrypoint, study_file, nearest(name, public))


def refuse_what_cannot_run(source: EntrypointSource, entrypoint: str, study_file: Path) -> None:
    """Raise `StudyError` when what the name is bound to cannot be a trial, as far as reading it tells."""
    if source.file.suffix != ".py":
        return
    tree = ast.parse(source.file.read_bytes())  # `locate` has read it before
    wrong = [why for node in tree.body if (why := _cannot_run(node, source.name)) is not None]
    if wrong and [found for found, _ in _bound(tree)].count(source.name) == 1:
        hint = "a study runs a function of the config, def train(config), or a class of trials"
        raise _error(f"{source.name} in {source.file} {wrong[0]}", entrypoint, study_file, hint)


def _cannot_run(node: ast.stmt, name: str) -> str | None:
    """Why what a statement binds to this name cannot be a trial, as far as can be seen without importing it.

    None where it binds another name, or may well be one.
    """
    if isinstance(node, ast.Import):
        modules = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
        return "is a module" if name in modules else None
    if isinstance(node, ast.Assign):
        literal = isinstance(
            node.value, (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr)
        )
        targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return "is a plain value" if literal and name in targets else None
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != name:
        return None
    if isinstance(node, ast.AsyncFunctionDef):
        return "is async, and nothing would await it"
    if not node.decorator_list and not (node.args.posonlyargs or node.args.args or node.args.vararg):
        return "takes no config, so that every arm would be the same"
    return None


def line_of(file: Path, name: str) -> int | None:
    """Return the line of a module on which a name is bound first; None where that cannot be told."""
    try:
        lines = dict(reversed(list(_bound(ast.parse(file.read_bytes())))))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return lines.get(name.partition(".")[0])


def _bound(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names bound at the top level, inside `if`, `try`, `with` too, and where; `*` for a star import."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                yield node.id, node.lineno
        elif not isinstance(node, ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))
