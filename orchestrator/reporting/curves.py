"""Learning curves of the arms, and how their Δ grew: from the metric tables of the trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from orchestrator.decide.rungs import highest_rung, rungs
from orchestrator.decide.scoring import Scoring
from orchestrator.record.layout import StudyPaths, TrialPaths
from orchestrator.record.metrictable import read_metrics
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting.evaluate import beside
from orchestrator.reporting.model import (
    ArmReport,
    Crossing,
    Curve,
    DeltaCurve,
    ReportedEvaluation,
    StudyReport,
)
from orchestrator.stats.results import Sample
from orchestrator.study.spec import MetricSpec, StudySpec

_LENGTH_KEYS = {"epoch": "epoch", "step": "step", "report": "report", "seconds": "time_s"}

Points = Mapping[float, float]
"""Length -> value of one run, ascending."""
Rows = Sequence[Mapping[str, object]]
Line = tuple[float, ...]
Ends = tuple[float | None, ...]


def with_curves(report: StudyReport, storage: Storage, paths: StudyPaths, spec: StudySpec) -> StudyReport:
    """Return the report with the curves of every evaluation; reads one metric table per run that has started.

    What the record does not say of the metrics in `metric.also` is read there, too. Curves are of the metric
    that selects, and the score at a rung is as in decisions.
    """
    marks = (*rungs(spec.stopping.grace, spec.stopping.reduction, spec.stopping.max), spec.stopping.max)
    evaluations = []
    older = said_by_tables(report, spec)
    for evaluation in report.evaluations:
        tables = {arm.arm: _tables(arm, evaluation, storage, paths) for arm in report.all_arms}
        points = {arm: _runs(read, report, spec.metric.name) for arm, read in tables.items()}
        scores = {
            arm: {seed: at_rungs(run, marks, spec.metric) for seed, run in runs.items()}
            for arm, runs in points.items()
        }
        reference = scores[report.reference.arm]
        deltas = [delta_curve(arm.arm, scores[arm.arm], reference) for arm in report.arms]
        evaluations.append(
            replace(
                evaluation,
                curves=tuple(curve(arm, list(runs.values())) for arm, runs in points.items() if runs),
                deltas=tuple(delta for delta in deltas if delta.lengths),
                beside=_beside(spec.metric, tables) if older else evaluation.beside,
            )
        )
    return replace(report, evaluations=tuple(evaluations))


def _tables(
    arm: ArmReport, evaluation: ReportedEvaluation, storage: Storage, paths: StudyPaths
) -> list[tuple[TrialRecord, Rows]]:
    """Return the runs that have started, each with what it has reported."""
    begun = (run for run in arm.of(evaluation.phase) if run.attempts and run.trial_dir)
    return [(run, read_metrics(storage, TrialPaths(f"{paths.root}/{run.trial_dir}"))) for run in begun]


def _runs(tables: Iterable[tuple[TrialRecord, Rows]], report: StudyReport, metric: str) -> dict[int, Points]:
    """Seed -> curve of the runs that have reported anything."""
    found = {run.seed: _points(rows, metric, _LENGTH_KEYS[report.unit]) for run, rows in tables}
    return {seed: points for seed, points in found.items() if points}


def length_key(unit: str) -> str:
    """Return the column of a trial's reports that has its length in the study's unit."""
    return _LENGTH_KEYS[unit]


def curve_of(storage: Storage, trial: TrialPaths, metric: str, unit: str) -> Points:
    """Return what a trial has reported of the metric so far, by its length."""
    return _points(read_metrics(storage, trial), metric, _LENGTH_KEYS[unit])


def points_of(rows: Rows, metric: str, unit: str) -> Points:
    """Return what these rows of a trial say of the metric, by its length; what is not finite is left out."""
    return _points(rows, metric, _LENGTH_KEYS[unit])


def said_by_tables(report: StudyReport, spec: StudySpec) -> bool:
    """Whether the other metrics stand in the trials' tables only, as earlier versions have left them."""
    runs = [run for arm in report.all_arms for run in arm.runs if run.used]
    return bool(spec.metric.also) and bool(runs) and not any(run.beside for run in runs)


def _beside(
    metric: MetricSpec, tables: Mapping[str, Sequence[tuple[TrialRecord, Rows]]]
) -> dict[str, dict[str, Sample]]:
    return beside(
        metric,
        {
            arm: {run.seed: Scoring(metric).follow(rows).beside for run, rows in read if run.used}
            for arm, read in tables.items()
        },
    )


def _points(rows: Sequence[Mapping[str, object]], metric: str, key: str) -> Points:
    found = {}
    for row in rows:
        length, value = row.get(key), row.get(metric)
        if isinstance(length, int | float) and isinstance(value, int | float) and math.isfinite(value):
            found[float(length)] = float(value)
    return dict(sorted(found.items()))


def curve(arm: str, runs: Sequence[Points]) -> Curve:
    """Mean and standard deviation over the runs that reported at each length."""
    lengths = sorted({length for run in runs for length in run})
    columns = {length: [run[length] for run in runs if length in run] for length in lengths}
    return Curve(arm, *_drawn(columns, statistics.stdev))


def _drawn(
    columns: Mapping[float, Sequence[float]], error: Callable[[Sequence[float]], float]
) -> tuple[Line, Line, Ends, Ends, tuple[int, ...]]:
    """Return lengths, means, mean − error, mean + error (None below two values) and n of values by length."""
    means = [statistics.fmean(column) for column in columns.values()]
    errors = [error(column) if len(column) > 1 else None for column in columns.values()]
    lo, hi = (
        tuple(None if by is None else mean + sign * by for mean, by in zip(means, errors, strict=True))
        for sign in (-1, 1)
    )
    return tuple(columns), tuple(means), lo, hi, tuple(map(len, columns.values()))


def at_rungs(run: Points, marks: Sequence[float], metric: MetricSpec) -> dict[float, float]:
    """Rung -> score of one run; a run that reports rarely counts at the highest rung it has passed."""
    scores: dict[float, float] = {}
    scoring, above = Scoring(metric), None
    for length, value in run.items():
        scoring.take({metric.name: value})
        rung = highest_rung(marks, length, above)
        if rung is not None and scoring.value is not None:
            scores[rung] = scoring.value
            above = rung
    return scores


def delta_curve(
    arm: str, scores: Mapping[int, Mapping[float, float]], reference: Mapping[int, Mapping[float, float]]
) -> DeltaCurve:
    """Δ at each rung over the seeds of which both runs came there, and where its sign changes."""
    by_rung: dict[float, dict[int, float]] = {}
    for seed in scores.keys() & reference.keys():
        for rung in scores[seed].keys() & reference[seed].keys():
            by_rung.setdefault(rung, {})[seed] = scores[seed][rung] - reference[seed][rung]
    columns = {rung: list(by_rung[rung].values()) for rung in sorted(by_rung)}
    found = [_crossing(a, b, by_rung[a], by_rung[b]) for a, b in pairwise(columns)]
    crossings = tuple(crossing for crossing in found if crossing is not None)
    return DeltaCurve(arm, *_drawn(columns, lambda c: statistics.stdev(c) / math.sqrt(len(c))), crossings)


def _crossing(
    before: float, after: float, first: Mapping[int, float], second: Mapping[int, float]
) -> Crossing | None:
    """Return a change of sign, over the same seeds: otherwise it could be a change of who is left."""
    seeds = first.keys() & second.keys()
    if not seeds:
        return None
    a = statistics.fmean(first[seed] for seed in seeds)
    b = statistics.fmean(second[seed] for seed in seeds)
    return Crossing(before, after, len(seeds)) if a * b < 0 else None
