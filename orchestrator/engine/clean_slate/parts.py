"""The general kinds of state: a value behind functions, a name in a module, the contents of a container."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping, MutableSequence
from functools import partial
from typing import Any, Protocol

_ABSENT: Any = object()


class StatePart(Protocol):
    """One kind of state; making the object captures it."""

    name: str

    def restore(self) -> list[str] | None:
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
        try:
            return self._always or bool(self._read() != self._value)
        except RuntimeError:
            return True

    def restore(self) -> None:
        if self._changed():
            self._write(self._value)


class Noticed:
    """What cannot be put back. `words`: of a change, with the places `{now}` and `{was}`."""

    def __init__(self, name: str, read: Callable[[], Any], words: str) -> None:
        self.name = name
        self._read, self._words = read, words
        self._value = read()

    def restore(self) -> list[str]:
        now = self._read()
        return [] if now == self._value else [self._words.format(now=now, was=self._value)]


class Name:
    """What a name of a module or class is bound to, by identity; a name that was absent is removed."""

    def __init__(self, name: str, owner: Any, attribute: str) -> None:
        self.name = name
        self._owner, self._attribute = owner, attribute
        self._value = getattr(owner, attribute, _ABSENT)

    def restore(self) -> None:
        if getattr(self._owner, self._attribute, _ABSENT) is not self._value:
            if self._value is _ABSENT:
                delattr(self._owner, self._attribute)
            else:
                setattr(self._owner, self._attribute, self._value)


class Contents(Name):
    """A list or dict behind a name: the same object, with the same contents."""

    def __init__(self, name: str, owner: Any, attribute: str) -> None:
        super().__init__(name, owner, attribute)
        self._saved = self._value.copy()

    def restore(self) -> None:
        super().restore()
        if self._value != self._saved:
            refill(self._value, self._saved)


def flag(name: str, owner: Any, attribute: str) -> Value:
    """Return an attribute that is a flag behind a property."""
    return Value(name, partial(getattr, owner, attribute), partial(setattr, owner, attribute))


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


def values(pairs: Iterable[tuple[str, str]]) -> Iterator[Value]:
    """Yield a `Value` for every (getter, setter) path that this process has."""
    for getter, setter in pairs:
        read, write = find(getter), find(setter)
        if read and write and hasattr(*read) and hasattr(*write):
            yield Value(getter, getattr(*read), getattr(*write))


def places(
    kind: Callable[[str, Any, str], StatePart], paths: Iterable[str], *, absent: bool = False
) -> Iterator[StatePart]:
    """Yield a part for every path whose module is loaded; `absent`: also where it lacks the name."""
    for path in paths:
        place = find(path)
        if place and (absent or hasattr(*place)):
            yield kind(path, *place)
