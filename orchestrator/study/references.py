"""`${...}` references between settings: checked here, all faults at once; resolved by OmegaConf.

A reference names a setting by its full dotted path (`${baseline.model.width}`) or relative to its own place
(`${.width}`). Environment variables and other resolvers are refused: a study must say by itself what it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.study.changes import MISSING
from orchestrator.study.faults import Path, Problem, dotted, items, nearest, walk

SECTIONS = ("name", "metric", "stopping", "resources", "baseline")
"""What a reference may address; the values there are the same before and after validation."""
MAX_CHAIN = 20
MAX_SIZE = 10_000

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_TARGET = re.compile(r"\.*[A-Za-z_][\w-]*(?:\.[\w-]+)*\Z", re.ASCII)
_HINT = "write the full dotted path, such as ${baseline.model.width}"


def resolve(root: Mapping[str, Any], sections: Iterable[str]) -> tuple[dict[str, Any], list[Problem]]:
    """Replace every reference in the named sections of `root` by the value that it names.

    Returns the resolved copy and the problems; with problems the copy is `root` itself.
    """
    asked = {name: root[name] for name in sections if name in root}
    if not _texts(asked):
        return dict(root), []
    scope = {key: root[key] for key in SECTIONS if key in root} | asked
    sizes = _Sizes(root)
    problems = [found for path, text in _texts(scope) if (found := _problem(root, path, text, sizes))]
    if problems:
        return dict(root), problems
    from omegaconf import OmegaConf  # slow to import, and most studies have no reference
    from omegaconf.errors import OmegaConfBaseException

    try:
        result = OmegaConf.to_container(OmegaConf.create(scope), resolve=True)
    except (OmegaConfBaseException, RecursionError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return dict(root), [Problem((), f"a reference cannot be resolved: {text[:200]}")]
    assert isinstance(result, dict)
    return {**root, **{name: result[name] for name in asked}}, []


def _texts(value: Any) -> list[tuple[Path, str]]:
    """List the texts with a reference."""
    return [(path, text) for path, text in walk(value) if isinstance(text, str) and "${" in text]


def _problem(root: Mapping[str, Any], path: Path, text: str, sizes: _Sizes) -> Problem | None:
    """Find the first fault of the references in a text: form, target, cycles, size."""
    shown, references = text[:60], _REFERENCE.findall(text)
    if "\\" in text:
        return Problem(path, "a text with a reference cannot hold a backslash", shown)
    if "${" in _REFERENCE.sub("", text):
        return Problem(path, "a reference is not closed, or holds another one", shown, _HINT)
    for reference in references:
        if ":" in reference:
            why = "are not allowed, the study must say by itself what it runs"
            return Problem(path, f"resolvers such as ${{oc.env:...}} {why}", shown, _HINT)
        if not _TARGET.match(reference):
            return Problem(path, f"'${{{reference[:40]}}}' is no path of a setting", shown, _HINT)
    for reference in references:
        if problem := _target_problem(root, path, reference):
            return problem
    fault = sizes.fault(path)
    return Problem(path, fault, shown) if fault else None


def _target_problem(root: Mapping[str, Any], path: Path, reference: str) -> Problem | None:
    target = _target(path, reference)
    value = "${" + reference[:60] + "}"
    if target is None:
        return Problem(path, "the reference leads above the study", value)
    if target[0] not in SECTIONS:
        hint = nearest(str(target[0]), SECTIONS)
        if _lookup(root, ("baseline", *target)) is not MISSING:
            hint = f"did you mean ${{baseline.{reference}}}?"
        return Problem(path, f"a reference cannot address {target[0]!r}", value, hint)
    parent: Any = root
    for length in range(1, len(target) + 1):
        found = _lookup(root, target[:length])
        if found is MISSING:
            siblings = parent if isinstance(parent, Mapping) else ()
            hint = nearest(dotted(target), [dotted((*target[: length - 1], name)) for name in siblings])
            if isinstance(parent, str) and "${" in parent:
                hint = "refer to the place that the reference on the way names"
            return Problem(path, "the reference names no setting", value, hint)
        parent = found
    return None


def _target(path: Path, reference: str) -> Path | None:
    """Return the path that a reference at `path` names; leading dots count levels up, as in OmegaConf."""
    name = reference.lstrip(".")
    levels = len(reference) - len(name)
    parts: Path = tuple(name.split("."))
    if not levels:
        return parts
    return (*path[: len(path) - levels], *parts) if levels < len(path) else None


def _lookup(root: Any, path: Path) -> Any:
    for part in path:
        if isinstance(root, (list, tuple)):
            root, part = {str(index): item for index, item in enumerate(root)}, str(part)
        root = root.get(part, MISSING) if isinstance(root, Mapping) else MISSING
    return root


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
        too_large = f"the references expand to more than {MAX_SIZE:,} values and characters"
        return too_large if self._total > MAX_SIZE else None

    def _size(self, path: Path, value: Any) -> int:
        if path in self._known:
            return self._known[path]
        if isinstance(value, str):
            total = self._expanded(path, value) if "${" in value else 1 + len(value)
        else:
            total = 1 + sum(self._size((*path, key), item) for key, item in items(value))
        self._known[path] = total
        return total

    def _expanded(self, path: Path, text: str) -> int:
        if path in self._open:
            names = " → ".join(map(dotted, (*self._open[self._open.index(path) :], path)))
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
                total += self._size(target, found) if found is not MISSING else 0
        self._open.pop()
        return total


class _EndlessError(Exception):
    """References that do not end."""
