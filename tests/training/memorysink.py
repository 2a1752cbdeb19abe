"""What monitors wrote, kept in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray

from orchestrator.training.sink import Drawn


class SinkEntry(NamedTuple):
    """One thing that was written."""

    kind: str
    """scalars, image, histogram, pr_curve, text or observe."""
    tag: str
    """Of scalars: "". Of observations: the monitor."""
    step: int
    value: Any


@dataclass
class MemorySink:
    """A sink that keeps everything in memory."""

    entries: list[SinkEntry] = field(default_factory=list)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.entries.append(SinkEntry("scalars", "", step, dict(values)))

    def image(self, tag: str, image: Drawn, step: int) -> None:
        self.entries.append(SinkEntry("image", tag, step, image() if callable(image) else image))

    def histogram(self, tag: str, values: NDArray[Any], step: int) -> None:
        self.entries.append(SinkEntry("histogram", tag, step, values))

    def pr_curve(self, tag: str, counts: Mapping[str, NDArray[Any]], step: int) -> None:
        self.entries.append(SinkEntry("pr_curve", tag, step, dict(counts)))

    def text(self, tag: str, text: str, step: int = 0) -> None:
        self.entries.append(SinkEntry("text", tag, step, text))

    def observe(self, monitor: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        self.entries.append(SinkEntry("observe", monitor, step, [dict(row) for row in rows]))

    def of(self, kind: str, tag: str = "") -> list[Any]:
        """Return the values of one kind under one tag, in order."""
        return [entry.value for entry in self.entries if (entry.kind, entry.tag) == (kind, tag)]

    def last_scalars(self) -> dict[str, float]:
        """Return the latest value of every scalar."""
        return {name: value for values in self.of("scalars") for name, value in values.items()}
