"""What is sent between processes instead of things whose modules are slow to import.

Whoever receives an actor's handle imports the module of its class: Ray Tune or Ray Train, a second of CPU
time and more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray


@dataclass(frozen=True)
class PackedHandle:
    """An actor's handle for somebody who will only need it when something goes wrong."""

    rebuild: Callable[..., Any]
    state: tuple[Any, ...]

    @classmethod
    def of(cls, handle: Any) -> PackedHandle:
        """Take it apart as `pickle` does. That does not keep the actor alive."""
        return cls(*handle.__reduce__())

    def unpack(self) -> Any:
        """Return the handle."""
        return self.rebuild(*self.state)


@dataclass(frozen=True)
class GroupOfOne:
    """Stands for the synchronization actor of a group of one: a process less per lane."""

    @classmethod
    def options(cls, **_: Any) -> type[GroupOfOne]:
        return cls

    @classmethod
    def remote(cls, **_: Any) -> GroupOfOne:
        return cls()

    @property
    def broadcast_from_rank_zero(self) -> _Echo:
        return _Echo()


@dataclass(frozen=True)
class _Echo:
    def remote(self, *, data: Any = None, **_: Any) -> Any:
        return ray.put(data)
