"""Where the metrics of a command are, in a study file: `entrypoint.metrics`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from orchestrator.study.section import Section

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
SOURCES = ("file", "pattern", "tensorboard")
"""Keys of `metrics` that name a source: one of them, or none."""


class MetricSource(Section):
    """Where a command's metrics are read from; without a source: JSON lines on stdout, TensorBoard files."""

    file: str | None = None
    """A file below the trial's directory, or a pattern of names such as `logs/*/metrics.csv`: CSV with a line
    of names where it ends in .csv or .tsv, else a JSON object a line."""
    pattern: Annotated[tuple[Pattern, ...], Field(strict=False)] = ()
    """Regular expressions for lines of stdout, with named groups: `epoch (?P<epoch>\\d+) acc (?P<acc>\\S+)`.
    A character of the metric's name that a group cannot have is written `_`."""
    tensorboard: str | None = None
    """A directory below the trial's, whose TensorBoard event files count."""
    counts_from: Literal[0, 1] | None = None
    """What the command calls its first epoch or step; null: 0 where the first report says 0, else 1."""

    @property
    def source(self) -> str | None:
        """The key that names the source; None: what is there counts."""
        return next((key for key in SOURCES if getattr(self, key)), None)

    @property
    def places(self) -> tuple[str, ...]:
        """Where metrics are looked for, in words."""
        named = {
            None: ("JSON lines on stdout", "TensorBoard event files"),
            "file": (f"the file {self.file}",),
            "pattern": ("lines of stdout",),
            "tensorboard": ("TensorBoard event files",),
        }
        return (*named[self.source], "orchestrator.report")

    @field_validator("file", "tensorboard")
    @classmethod
    def _below_the_trial(cls, path: str | None) -> str | None:
        if path is None:
            return None
        if not path.strip() or "\0" in path or len(path) > 1000:
            raise ValueError("must be a path below the trial's directory, such as logs/metrics.jsonl")
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "{" in path:
            raise ValueError(
                "must be a path below the trial's own directory, such as logs/metrics.jsonl: "
                "with one file for all trials nobody can tell whose line it is"
            )
        return path

    @field_validator("pattern", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                groups = re.compile(pattern).groupindex
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"is no regular expression: {error}") from None
            if not groups:
                raise ValueError(
                    "names no group; a value is (?P<name>...): epoch (?P<epoch>\\d+) acc (?P<acc>\\S+), say"
                )
        return patterns

    @model_validator(mode="after")
    def _one_source(self) -> MetricSource:
        given = [key for key in SOURCES if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"has {len(given)} sources, {' and '.join(given)}; keep the one that counts")
        return self
