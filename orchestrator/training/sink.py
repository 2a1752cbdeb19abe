"""Where monitors write. `record.triallog.TrialLog` is one on rank 0 of a trial, `Silent` on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

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
