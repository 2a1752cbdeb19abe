"""`${...}` references between settings: checked here, all faults at once; resolved by OmegaConf.

A reference names a setting by its full dotted path (`${baseline.model.width}`) or relative to its own place
(`${.width}`). Environment variables and other resolvers are refused: a study must say by itself what it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.study.faults import Path, Problem, nearest

SECTIONS = ("name", "metric", "stopping", "resources", "baseline")
"""What a reference may address; the values there are the same before and after validation."""
MAX_CHAIN = 20
MAX_SIZE = 10_000

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_TARGET = re.compile(r"\.*[A-Za-z_][\w-]*(?:\.[\w-]+)*\Z", re.ASCII)


def has_reference(value: Any) -> bool:
    """Whether any text inside `value` holds `${`."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, Mapping):
        return any(map(has_reference, value.values()))
    return isinstance(value, (list, tuple)) and any(map(has_reference, value))


def resolve(root: Mapping[str, Any], sections: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """Replace every reference in the named sections of `root` by the value that it names.

    Returns the resolved copy and the problems; with problems the copy is `root` itself.
    """
    scope = {name: root[name] for name in sections if name in root}
    if not has_reference(scope):
        return dict(root), []
    reachable = {key: root[key] for key in SECTIONS if key in root}
    problems = check(root, {**reachable, **scope})
    if problems:
        return dict(root), problems
    from omegaconf import OmegaConf  # slow to import, and most studies have no reference
    from omegaconf.errors import OmegaConfBaseException

    try:
        tree = OmegaConf.create({**reachable, **scope})
        result = OmegaConf.to_container(tree, resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return dict(root), [Problem((), f"a reference cannot be resolved: {text[:200]}")]
    assert isinstance(result, dict)
    return {**root, **{name: result[name] for name in scope}}, []


def check(root: Mapping[str, Any], scope: Mapping[str, Any]) -> list[Problem]:
    """All faults of the references in `scope`: form, target, cycles, size."""
    problems: list[Problem] = []
    sizes = _Sizes(root)
    for path, text in _texts(scope, ()):
        form = _form_problem(path, text)
        if form:
            problems.append(form)
            continue
        for reference in _REFERENCE.findall(text):
            problem = _target_problem(root, path, reference)
            if problem:
                problems.append(problem)
                break
        else:
            fault = sizes.fault(path)
            if fault:
                problems.append(Problem(path, fault, value=text[:60]))
    return problems


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and "${" in value:
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def _form_problem(path: Path, text: str) -> Problem | None:
    hint = "write the full dotted path, such as ${baseline.model.width}"
    if "\\" in text:
        return Problem(path, "a text with a reference cannot hold a backslash", value=text[:60])
    if "${" in _REFERENCE.sub("", text):
        message = "a reference is not closed, or holds another one"
        return Problem(path, message, value=text[:60], hint=hint)
    for reference in _REFERENCE.findall(text):
        if ":" in reference:
            message = (
                "resolvers such as ${oc.env:...} are not allowed, the study must say by itself what it runs"
            )
            return Problem(path, message, value=text[:60], hint=hint)
        if not _TARGET.match(reference):
            return Problem(
                path, f"'${{{reference[:40]}}}' is no path of a setting", value=text[:60], hint=hint
            )
    return None


def _target_problem(root: Mapping[str, Any], path: Path, reference: str) -> Problem | None:
    target = _target(path, reference)
    value = "${" + reference[:60] + "}"
    if target is None:
        return Problem(path, "the reference leads above the study", value=value)
    if target[0] not in SECTIONS:
        if _lookup(root, ("baseline", *target)) is not _MISSING:
            hint = f"did you mean ${{baseline.{reference}}}?"
        else:
            hint = nearest(str(target[0]), SECTIONS)
        return Problem(path, f"a reference cannot address {target[0]!r}", value=value, hint=hint)
    for length in range(1, len(target) + 1):
        found = _lookup(root, target[:length])
        if found is _MISSING:
            parent = _lookup(root, target[: length - 1])
            names = (
                [".".join(map(str, (*target[: length - 1], key))) for key in parent]
                if isinstance(parent, Mapping)
                else []
            )
            where = ".".join(map(str, target))
            hint = nearest(where, names)
            if isinstance(parent, str) and "${" in parent:
                hint = "refer to the place that the reference on the way names"
            return Problem(path, "the reference names no setting", value=value, hint=hint)
    return None


def _target(path: Path, reference: str) -> Path | None:
    """Return the path that a reference at `path` names; leading dots count levels up, as in OmegaConf."""
    name = reference.lstrip(".")
    levels = len(reference) - len(name)
    parts: Path = tuple(name.split("."))
    if not levels:
        return parts
    return (*path[: len(path) - levels], *parts) if levels < len(path) else None


_MISSING = object()


def _lookup(root: Any, path: Path) -> Any:
    value = root
    for part in path:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, (list, tuple)) and str(part) in map(str, range(len(value))):
            value = value[int(part)]
        else:
            return _MISSING
    return value


_TOO_LARGE = f"the references expand to more than {MAX_SIZE:,} values and characters"


class _Sizes:
    """How large a value becomes when its references are replaced; finds cycles and bombs on the way."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self._known: dict[Path, int] = {}
        self._open: list[Path] = []
        self._total = 0

    def fault(self, path: Path) -> str | None:
        """Why the text at `path` cannot be replaced, or None; of an explosion only the first."""
        if self._total > MAX_SIZE:
            return None
        self._open.clear()
        try:
            self._total += self._size(path, _lookup(self.root, path))
        except _EndlessError as error:
            return str(error)
        return _TOO_LARGE if self._total > MAX_SIZE else None

    def _size(self, path: Path, value: Any) -> int:
        if path in self._known:
            return self._known[path]
        if isinstance(value, Mapping):
            total = 1 + sum(self._size((*path, key), item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            total = 1 + sum(self._size((*path, index), item) for index, item in enumerate(value))
        elif isinstance(value, str) and "${" in value:
            total = self._expanded(path, value)
        else:
            total = 1 + (len(value) if isinstance(value, str) else 0)
        self._known[path] = total
        return total

    def _expanded(self, path: Path, text: str) -> int:
        if path in self._open:
            names = " → ".join(
                ".".join(map(str, part)) for part in (*self._open[self._open.index(path) :], path)
            )
            raise _EndlessError(f"the references form a circle: {names[:300]}")
        if len(self._open) >= MAX_CHAIN:
            raise _EndlessError(f"the references form a chain of more than {MAX_CHAIN}")
        self._open.append(path)
        total = len(text)
        for reference in _REFERENCE.findall(text):
            target = _target(path, reference)
            if target is not None and _TARGET.match(reference):
                found = _lookup(self.root, target)
                # a mapping that contains its own reference never ends either
                total += self._size(target, found) if found is not _MISSING else 0
        self._open.pop()
        return total


class _EndlessError(Exception):
    """References that do not end."""
