"""What a trial is worth so far: its score at rungs, and the report that it counts with at its end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orchestrator.study.spec import MetricSpec


class Scoring:
    """Follow the reports of one trial, in order. Values are in the user's units.

    `latest`: the metric now, the mean of the last `average_last` reports that had it; `value`: what the trial
    would count with if it ended here, by the metric that selects: `latest`, or the best so far
    (`metric.at: best`). Both are None before the first value. `counts`: the last report is one of those that
    `value` is made of.
    """

    def __init__(self, metric: MetricSpec) -> None:
        self.metric = metric
        self.latest: float | None = None
        self.value: float | None = None
        self.counts = False
        self._recent: deque[Mapping[str, Any]] = deque(maxlen=metric.average_last)
        self._counted: tuple[Mapping[str, Any], ...] = ()
        self._known: dict[str, float] = {}

    def follow(self, rows: Iterable[Mapping[str, Any]]) -> Scoring:
        """Take all of these reports."""
        for row in rows:
            self.take(row)
        return self

    def take(self, row: Mapping[str, Any]) -> None:
        """Take one report; one without the metric changes what is known of the other metrics only."""
        metric = self.metric
        self._known |= {key: found for key in metric.also if (found := number(row.get(key))) is not None}
        self.counts = False
        if number(row.get(metric.name)) is None:
            return
        self._recent.append(row)
        self.latest = latest = _mean(metric.name, self._recent)
        if metric.at == "last" or self.value is None or self._beats(latest, self.value):
            self.value, self._counted, self.counts = latest, tuple(self._recent), True

    @property
    def claimed(self) -> float | None:
        """What effects are made of: `metric.test` in the reports that count; without one, `value`."""
        test = self.metric.test
        if test is None or not self._counted:
            return self.value if test is None else None
        there = number(self._counted[-1].get(test)) is not None
        return _mean(test, self._counted) if there else None

    @property
    def beside(self) -> dict[str, float]:
        """The other metrics where the trial counts: the one that has selected, and `metric.also`.

        One that the report that counts does not have is as it was last reported.
        """
        counted = self._counted[-1] if self._counted else {}
        selected = {} if self.metric.test is None else {self.metric.name: self.value}
        also = {name: number(counted.get(name)) for name in self.metric.also}
        found = {name: self._known.get(name) if at is None else at for name, at in also.items()}
        return {name: value for name, value in (selected | found).items() if value is not None}

    def _beats(self, value: float, best: float) -> bool:
        return value > best if self.metric.mode == "max" else value < best


def number(value: Any) -> float | None:
    """Return a number as float; None for anything else, booleans too."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mean(name: str, rows: Collection[Mapping[str, Any]]) -> float:
    """Return the mean over the reports that have it, of which there is one."""
    values = [value for row in rows if (value := number(row.get(name))) is not None]
    return math.fsum(values) / len(values)
