"""The curves of a recorded study, as its runs reported them at the rungs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from orchestrator.decide.rungs import highest_rung
from orchestrator.record.state import TrialRecord
from orchestrator.simulate.asha import Point, SimulatedCurve
from orchestrator.study.spec import StudySpec


def curve(
    spec: StudySpec,
    record: TrialRecord,
    rows: Sequence[Mapping[str, Any]],
    ladder: Sequence[float],
    *,
    protected: bool,
) -> SimulatedCurve:
    """Return the run of `record` as `asha` would have seen it, from the rows of its `metrics.parquet`."""
    times = [time for row in rows if (time := _number(row.get("time_s"))) is not None]
    length = record.length or 0.0
    return SimulatedCurve(
        record.cell,
        record.arm,
        points(spec, rows, ladder),
        length,
        max(times, default=length),
        protected,
    )


def points(spec: StudySpec, rows: Iterable[Mapping[str, Any]], ladder: Sequence[float]) -> tuple[Point, ...]:
    """Return the reports that would have been compared, from the rows of a run's `metrics.parquet`.

    As in a running study: a report counts at the highest rung that it has passed, one without the metric at
    none, and the score is the mean of the last `average_last` values, oriented.
    """
    recent: deque[float] = deque(maxlen=spec.metric.average_last)
    found: list[Point] = []
    for row in rows:
        value, length = _number(row.get(spec.metric.name)), _length(spec, row)
        if value is None or length is None:
            continue
        recent.append(value)
        rung = highest_rung(ladder, length, above=found[-1].rung if found else None)
        if rung is None or length >= spec.stopping.max:
            continue
        score = math.fsum(recent) / len(recent)
        time = _number(row.get("time_s"))
        oriented = score if spec.metric.mode == "max" else -score
        found.append(Point(rung, length, length if time is None else time, oriented))
    return tuple(found)


def _length(spec: StudySpec, row: Mapping[str, Any]) -> float | None:
    key = "time_s" if spec.stopping.unit == "seconds" else spec.stopping.unit
    return _number(row.get(key))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
