"""Values that a command writes one by one, as whole reports.

Each value of the metric makes a report, and what else was written since the report before goes with it. A
line is whole when it ends. An event file has one record for each value: there a report is whole when all has
come that came with the metric the first time, or when a later step has begun, or nothing follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.engine.command._events import Scalar
from orchestrator.engine.command._spoken import MOST_VALUES, Row, number

CALLED = {"epoch": ("epoch",), "step": ("step", "global_step", "iteration", "iter")}
"""What commands call the place in a training; the last part of a name counts, `train/epoch`."""
_OWN = ("report", "time_s", "attempt")
"""Columns of the record: a command's own are named `my_...`."""


class MetricsUnclear(ValueError):
    """What a command wrote can be read in two ways; says which, and what to set."""


class LinesJoined:
    """Reports out of rows: each row that has the metric, with the numbers that came since the last one."""

    def __init__(self, metric: str) -> None:
        self._metric, self._since = metric, Row()

    def take(self, row: Row) -> Row | None:
        """Return the report that a row completes."""
        row = {name: number(one) if self._counts(name, one) else one for name, one in row.items()}
        if row.get(self._metric) is None:
            fresh = {name: one for name, one in row.items() if type(one) in (int, float)}
            if len(self._since) + len(fresh) <= MOST_VALUES:
                self._since |= fresh
            return None
        report = {**self._since, **row}
        names = {place(report, unit) for unit in CALLED}
        self._since = {name: report[name] for name in names if name is not None}
        return report

    def _counts(self, name: str, value: Any) -> bool:
        """Whether a text is meant as a number: some print `{'epoch': '1'}`."""
        return isinstance(value, str) and (
            name == self._metric or any(_called(name, unit) for unit in CALLED)
        )


class ScalarsJoined:
    """Reports out of the points of one event file.

    `named`: the tags by which the metric may be called in this file.
    """

    def __init__(self, metric: str, named: Callable[[str], bool]) -> None:
        self._metric, self._named = metric, named
        self._step: int | None = None
        self._values, self._since = Row(), Row()  # of this step; of those before, since the last report
        self._together: set[str] | None = None  # what comes with the metric

    def take(self, point: Scalar) -> Iterator[Row]:
        """Yield the reports that a point completes."""
        name = self._metric if self._named(point.tag) else point.tag
        if point.step != self._step or (name == self._metric and name in self._values):
            yield from self.turn()
            self._step = point.step
        if len(self._values) < MOST_VALUES or name == self._metric:
            self._values[name] = point.value
        known = self._together is not None and self._together <= self._values.keys()
        if known and self._metric in self._values:
            yield self._whole()

    def turn(self) -> Iterator[Row]:
        """Yield the report that is whole because nothing more comes at this step."""
        if self._metric in self._values:
            here = set(self._values)
            self._together = here if self._together is None else self._together & here
            yield self._whole()
        elif len(self._since) + len(self._values) <= MOST_VALUES:
            self._since |= self._values
        self._values = Row()

    def _whole(self) -> Row:
        report = {**self._since, **self._values}
        here = place(self._values, "epoch")
        if here is None:  # of another step it would be another epoch
            report = {name: value for name, value in report.items() if not _called(name, "epoch")}
        self._values, self._since = Row(), Row()
        return {**report, "step": self._step}


class Counting:
    """Lengths as the study counts them, from 1: a command that calls its first epoch 0 is one behind.

    `kept`: where a later attempt of the trial finds what the first one has found out.
    """

    def __init__(self, unit: str, counts_from: int | None, kept: Path) -> None:
        self._unit, self._kept = unit, kept
        self._shift = None if counts_from is None else 1 - counts_from
        self.told = counts_from is not None
        self.resumed = kept.exists()
        if self._shift is None and self.resumed:
            self._shift = int(kept.read_text() == "0")

    def counted(self, row: Row) -> Row:
        """Return a report with `epoch` and `step` under these names, and without what is no place."""
        found = {unit: row.get(place(row, unit) or "") for unit in CALLED}
        row = {(f"my_{name}" if name in _OWN else name): value for name, value in row.items()}
        for unit, value in found.items():
            row.pop(unit, None)
            if value is not None:
                row[unit] = value + self._of(value) if unit == self._unit else value
        return row

    def _of(self, value: float) -> int:
        if self._shift is None:
            self._shift = int(value == 0)
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            self._kept.write_text("0" if self._shift else "1")
        return self._shift


def place(row: Row, unit: str) -> str | None:
    """Return the name under which a row says its epoch or step, its own name first."""
    names = [unit] if _is_place(row.get(unit)) else []
    for called in CALLED[unit]:
        names += [name for name in row if _last(name) == called and _is_place(row[name])]
    return names[0] if names else None


def _called(name: str, *units: str) -> bool:
    return any(_last(name) in CALLED[unit] for unit in units)


def _last(name: str) -> str:
    return name.replace(".", "/").rpartition("/")[2].strip().lower()


def _is_place(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value < 2**63
