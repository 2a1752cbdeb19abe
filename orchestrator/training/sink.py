"""Where monitors write. `record.triallog.TrialLog` is one on rank 0 of a trial, `Silent` on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""A picture, [H, W, 1 | 3]."""
Drawn = Pixels | Callable[[], Pixels]
"""A picture, or a function that draws it."""


class Sink(Protocol):
    """Where monitors write: TensorBoard and the tables of the trial."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers of a step, by tag."""

    def image(self, tag: str, image: Drawn, step: int) -> None:
        """Write a picture; a function that draws it is called later, off the training path."""

    def histogram(self, tag: str, values: NDArray[Any], step: int) -> None:
        """Write the distribution of numbers, [N]."""

    def pr_curve(self, tag: str, counts: Mapping[str, NDArray[Any]], step: int) -> None:
        """Write the curve of `tp`, `fp`, `tn`, `fn` at rising thresholds, [T ≤ 127] each."""

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Write Markdown."""

    def observe(self, monitor: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Write rows of plain values into the trial's table of observations."""


class Silent:
    """A sink that drops everything: that of the ranks above 0."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...
    def image(self, tag: str, image: Drawn, step: int) -> None: ...
    def histogram(self, tag: str, values: NDArray[Any], step: int) -> None: ...
    def pr_curve(self, tag: str, counts: Mapping[str, NDArray[Any]], step: int) -> None: ...
    def text(self, tag: str, text: str, step: int = 0) -> None: ...
    def observe(self, monitor: str, rows: Sequence[Mapping[str, Any]], step: int) -> None: ...


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
    """A sink that keeps everything in memory: for tests and for looking at a trial in one's own process."""

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
