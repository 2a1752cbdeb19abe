"""What is sent between processes instead of things whose modules are slow to import.

Whoever receives an actor's handle imports the module of its class: Ray Tune or Ray Train, a second of CPU
time and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle


@dataclass(frozen=True)
class PackedHandle:
    """An actor's handle for somebody who will only need it when something goes wrong."""

    pickled: bytes

    @classmethod
    def of(cls, handle: Any) -> PackedHandle:
        """Pack it. It does not keep the actor alive."""
        return cls(cloudpickle.dumps(handle))

    def unpack(self) -> Any:
        """Return the handle."""
        return cloudpickle.loads(self.pickled)


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
