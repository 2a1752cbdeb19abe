"""A config that notes which of its keys are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class RecordingConfig(dict[str, Any]):
    """A dict like any other, whose reads end up in `read` as dotted keys.

    It errs towards *read*: whoever copies or unpacks a section has read all of it.
    """

    def __init__(self, data: Mapping[str, Any], read: set[str], prefix: str = "") -> None:
        super().__init__(
            {
                key: RecordingConfig(value, read, f"{prefix}{key}.") if isinstance(value, Mapping) else value
                for key, value in data.items()
            }
        )
        self._read = read
        self._prefix = prefix

    def __getitem__(self, key: str) -> Any:
        self._read.add(f"{self._prefix}{key}")
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 - this is get

    def pop(self, key: str, *default: Any) -> Any:
        self._read.add(f"{self._prefix}{key}")
        return super().pop(key, *default)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def __iter__(self) -> Iterator[str]:
        # with its own iterator, dict(config) and **config go through __getitem__ instead of around it
        return iter(list(super().keys()))

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {
            key: value.__deepcopy__(memo) if isinstance(value, RecordingConfig) else value
            for key, value in self.items()
        }


def was_read(key: str, read: set[str]) -> bool:
    """Was the dotted key read, or anything below it?"""
    return any(name == key or name.startswith(f"{key}.") for name in read)
