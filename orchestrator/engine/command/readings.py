"""The metrics of a running command, read from what it writes: reports for the trial's record.

Without a setting: JSON lines on stdout, or TensorBoard event files below the trial's directory, whichever has
the metric first; `metrics:` of the study names another source. What the command reports with
`orchestrator.report` counts before all others. What an earlier attempt left behind is not read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.decide.probing import FEW, misnamed
from orchestrator.engine.command._joining import Counting, MetricsUnclear
from orchestrator.engine.command._sources import Called, EventFiles, LogFiles, Reading, Source, Stdout
from orchestrator.engine.command._spoken import NamedGroups, Objects
from orchestrator.study.faults import nearest
from orchestrator.study.metricsource import MetricSource

__all__ = ["MetricsUnclear", "Reading", "Readings", "readings_of", "reports_file"]


def reports_file(folder: Path) -> Path:
    """Return the file that `orchestrator.report` writes to, for a command that runs in this directory."""
    return folder / ".orchestrator" / "reports.jsonl"


def readings_of(spec: Any | None, folder: Path, metric: str, unit: str) -> Readings:
    """Return what reads a command's metrics; made before the command starts, new for every attempt.

    Args:
        spec: `metrics` of the entrypoint, a `MetricSource` or its keys; None: what is there counts.
        folder: the trial's own directory, in which the command runs.
        metric: the name of what the study compares.
        unit: of lengths in the study.
    """
    source = spec if isinstance(spec, MetricSource) else MetricSource.model_validate(dict(spec or {}))
    reports = reports_file(folder)
    counting = Counting(unit, source.counts_from, reports.with_name("counts_from"))
    stdout: Stdout | None = None
    others: list[Source] = []
    if source.file:
        others = [LogFiles(folder, source.file, metric)]
    elif source.pattern:
        others = [stdout := Stdout(NamedGroups(source.pattern, metric), metric, "lines of stdout")]
    if not source.source:
        others = [stdout := Stdout(Objects(), metric, "JSON lines on stdout")]
    if source.source in (None, "tensorboard"):
        below = folder / source.tensorboard if source.tensorboard else folder
        check = not (counting.told or counting.resumed)
        others.append(EventFiles(below, metric, unit == "epoch", check))
    return Readings(metric, Called(reports), others, counting, stdout)


class Readings:
    """The reports of one attempt of a command, as they become whole."""

    def __init__(
        self,
        metric: str,
        called: Called,
        others: list[Source],
        counting: Counting,
        stdout: Stdout | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._metric, self._called, self._others, self._stdout = metric, called, others, stdout
        self._counting, self._say = counting, say or _to_the_log
        self._counts: Source | None = None  # the source that has won
        self._ignored: set[str] = set()

    def line(self, text: str) -> None:
        """Take a line of the command's stdout; from any thread, one at a time."""
        if self._stdout is not None:
            self._stdout.line(text)

    def poll(self) -> list[dict[str, Any]]:
        """Return the reports that are whole since the last call, in order; never waits.

        A report that came with a checkpoint has it as its attribute `checkpoint`.

        Raises:
            MetricsUnclear: what was written can be read in two ways.
        """
        return self._chosen([(source, source.poll()) for source in (self._called, *self._others)])

    def close(self) -> list[dict[str, Any]]:
        """Return the last reports, once the process has ended and all its lines were taken.

        Raises:
            MetricsUnclear: what was written can be read in two ways.
        """
        return self._chosen([(source, source.close()) for source in (self._called, *self._others)])

    def mistaken(self) -> str | None:
        """Say why the metric will not come, as far as what the command has written shows it.

        Asked of a command that has reported nothing yet: it writes the metric under a name that is nearly
        the same, or a file like the one that is read.
        """
        if self._counts is not None:
            return None
        names = [name for source in self._others for name, count in source.seen.items() if count >= FEW]
        if (near := misnamed(self._metric, names)) is not None:
            return f"the command gives {near!r}, and never {self._metric!r}; set metric.name to what it gives"
        for source in self._others:
            other = source.elsewhere() if isinstance(source, LogFiles) else None
            if other is not None:
                return (
                    f"{source.name} is not there; the command writes {other}, which has {self._metric!r}; "
                    f"set metrics: {{file: {other}}} in the entrypoint"
                )
        return None

    def missing(self) -> str:
        """Say where the metric was looked for, and what was there: for a command that reported nothing."""
        names = sorted({name for source in self._others for name in source.seen})
        places = ", ".join(source.name for source in (*self._others, self._called))
        found = f"; found there: {', '.join(names[:20])}" if names else "; nothing was found there"
        hint = f"; {nearest(self._metric, names)}" if names else ""
        if printed := self._printed():
            found, hint = "", f"; {printed}"
        return f"the command never gave {self._metric!r}. Looked at {places}{found}{hint}"

    def so_far(self) -> str:
        """Say where the metric is looked for, what is there, and what would be read: for a command that has
        reported nothing yet and may still.
        """
        names = sorted({name for source in self._others for name in source.seen})
        places = ", ".join(f"{source.name} ({source.content})" for source in (*self._others, self._called))
        found = f"; found there: {', '.join(names[:20])}" if names else ""
        would = self._printed() or (
            f'what would be read is a line such as {{"epoch": 1, "{self._metric}": 0.5}}, or what '
            "`metrics` of the entrypoint names"
        )
        return f"{self._metric!r} is looked for in {places}{found}; {would}"

    def _printed(self) -> str | None:
        return self._stdout.hint if self._stdout is not None else None

    def _chosen(self, found: list[tuple[Source, list[Reading]]]) -> list[dict[str, Any]]:
        for source, reports in found:
            if reports and (self._counts is None or source is self._called) and self._counts is not source:
                self._counts = source
                self._say(f"metrics are read from {source.name}")
        chosen: list[dict[str, Any]] = []
        for source, reports in found:
            if source is self._counts:
                chosen += reports if source is self._called else map(self._counted, reports)
            elif reports and source.name not in self._ignored:
                self._ignored.add(source.name)
                self._say(f"{source.name} have {self._metric!r} too; they are not counted")
        return chosen

    def _counted(self, report: Reading) -> Reading:
        return Reading(self._counting.counted(report))


def _to_the_log(text: str) -> None:
    sys.stderr.write(f"[orchestrator] {text}\n")
