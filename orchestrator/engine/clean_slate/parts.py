"""The general kinds of state: a value behind functions, a name in a module, the contents of a container."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from typing import Any, Protocol

_ABSENT: Any = object()


class StatePart(Protocol):
    """One kind of state; making the object captures it."""

    name: str

    def restore(self) -> list[str]:
        """Put the state back; returns what could not be, in words."""


class Value:
    """What `read()` returns, written back with `write(value)` when it changed.

    A `read` that raises (torch does when two interfaces to one flag disagree) counts as changed.
    """

    def __init__(
        self, name: str, read: Callable[[], Any], write: Callable[[Any], object], *, always: bool = False
    ) -> None:
        self.name = name
        self._read, self._write, self._always = read, write, always
        self._value = read()

    def _changed(self) -> bool:
        if self._always:
            return True
        try:
            return bool(self._read() != self._value)
        except RuntimeError:
            return True

    def restore(self) -> list[str]:
        if self._changed():
            self._write(self._value)
        return []


class Name:
    """What a name of a module or class is bound to, by identity; a name that was absent is removed."""

    def __init__(self, name: str, owner: Any, attribute: str) -> None:
        self.name = name
        self._owner, self._attribute = owner, attribute
        self._value = getattr(owner, attribute, _ABSENT)

    def restore(self) -> list[str]:
        if getattr(self._owner, self._attribute, _ABSENT) is not self._value:
            if self._value is _ABSENT:
                delattr(self._owner, self._attribute)
            else:
                setattr(self._owner, self._attribute, self._value)
        return []


class Contents:
    """A list or dict behind a name: the same object, with the same contents."""

    def __init__(self, name: str, owner: Any, attribute: str) -> None:
        self.name = name
        self._binding = Name(name, owner, attribute)
        self._container = getattr(owner, attribute)
        self._saved = self._container.copy()

    def restore(self) -> list[str]:
        self._binding.restore()
        if self._container != self._saved:
            refill(self._container, self._saved)
        return []


def refill(container: MutableSequence[Any] | MutableMapping[Any, Any], saved: Any) -> None:
    """Give `container` the contents of `saved`, touching only what differs in a mapping."""
    if isinstance(container, MutableSequence):
        container[:] = saved
        return
    for key in list(container):
        if key not in saved:
            del container[key]
    for key, value in saved.items():
        if key not in container or container[key] != value:
            container[key] = value


def find(path: str) -> tuple[Any, str] | None:
    """Owner object and attribute of a dotted path, or None when that module is not imported.

    Nothing is imported: a module that is not loaded has no state.
    """
    words = path.split(".")
    for cut in range(len(words) - 1, 0, -1):
        owner: Any = sys.modules.get(".".join(words[:cut]))
        if owner is not None:
            for word in words[cut:-1]:
                owner = getattr(owner, word, None)
            return (owner, words[-1]) if owner is not None else None
    return None


def values(pairs: tuple[tuple[str, str], ...]) -> Iterator[Value]:
    """Yield a `Value` for every (getter, setter) path that this process has."""
    for getter, setter in pairs:
        read, write = find(getter), find(setter)
        if read and write and hasattr(*read) and hasattr(*write):
            yield Value(getter, getattr(*read), getattr(*write))


def flags(paths: tuple[str, ...]) -> Iterator[Value]:
    """Yield a `Value` for every attribute path that this process has: for flags behind properties."""
    for path in paths:
        place = find(path)
        if place and hasattr(*place):
            owner, attribute = place
            yield Value(path, _reader(owner, attribute), _writer(owner, attribute))


def names(paths: tuple[str, ...]) -> Iterator[Name]:
    """Yield a `Name` for every path whose module is loaded."""
    for path in paths:
        if place := find(path):
            yield Name(path, *place)


def contents(paths: tuple[str, ...]) -> Iterator[Contents]:
    """Yield a `Contents` for every path that this process has."""
    for path in paths:
        place = find(path)
        if place and hasattr(*place):
            yield Contents(path, *place)


def _reader(owner: Any, attribute: str) -> Callable[[], Any]:
    return lambda: getattr(owner, attribute)


def _writer(owner: Any, attribute: str) -> Callable[[Any], None]:
    return lambda value: setattr(owner, attribute, value)
