"""The second interval of the effects, for new seeds and new data: from the scores that trials have kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import UnreadableRecord
from orchestrator.record.layout import StudyPaths, TrialPaths
from orchestrator.record.scores import Scores, read_scores
from orchestrator.record.state import TrialRecord
from orchestrator.record.storage import Storage
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.stats.newdata import NewData, for_new_data, sample_variance
from orchestrator.stats.results import Effect
from orchestrator.study.designs import Contrast

MOST_VALUES = 50_000_000
"""What is held at once: 8 bytes for each sample of each run that an effect is made of."""
_ALIKE = 0.9
"""With more than this share of ids in common two seeds were meant to have the same samples."""
_OWN_SPLIT = (
    "each seed has a validation split of its own, so the interval over seeds is for new data as well, "
    "as far as the split draws them"
)


class _Cannot(Exception):
    """Why an effect has no second interval."""


def with_new_data(
    report: StudyReport, storage: Storage, paths: StudyPaths, contrasts: Iterable[Contrast]
) -> StudyReport:
    """Return the report with the second intervals, and notes where there cannot be one.

    Reads the scores of each run that is in an effect with an interval; nothing more than one look where the
    reference has none.
    """
    weights = {contrast.name: contrast.weights for contrast in contrasts}
    evaluations, notes = [], []
    for evaluation in report.evaluations:
        found, said = _of(evaluation, weights, _Kept(report, evaluation, storage, paths))
        evaluations.append(replace(evaluation, new_data=found))
        notes += said
    if not (notes or any(one.new_data for one in evaluations)):
        return report
    return replace(report, evaluations=tuple(evaluations), notes=(*report.notes, *dict.fromkeys(notes)))


class _Kept:
    """The scores of an evaluation's runs, each read once."""

    def __init__(
        self, report: StudyReport, evaluation: ReportedEvaluation, storage: Storage, paths: StudyPaths
    ) -> None:
        self._storage, self._root = storage, paths.root
        runs = [run for arm in report.all_arms for run in arm.of(evaluation.phase) if run.used]
        self.runs = {(run.arm, run.seed): run for run in runs}
        self._read: dict[tuple[str, int], Scores | None] = {}
        self._room = MOST_VALUES

    @property
    def none(self) -> bool:
        """Whether the first runs of two arms have no scores: then the others are not looked at."""
        first: dict[str, tuple[str, int]] = {}
        for run in self.runs:
            first.setdefault(run[0], run)
        try:
            return all(self._of(run) is None for run in list(first.values())[:2])
        except _Cannot:
            return False

    def of(self, arm: str, seed: int) -> Scores:
        """Return the scores of a run; raises `_Cannot`."""
        found = self._of((arm, seed))
        if found is None:
            raise _Cannot(f"{arm} has kept no scores under seed {seed}")
        return found

    def _of(self, key: tuple[str, int]) -> Scores | None:
        if key not in self.runs:
            return None
        if key not in self._read:
            self._read[key] = self._checked(self.runs[key])
        return self._read[key]

    def _checked(self, run: TrialRecord) -> Scores | None:
        if not run.trial_dir:
            return None
        try:
            found = read_scores(self._storage, TrialPaths(f"{self._root}/{run.trial_dir}"))
        except UnreadableRecord as error:
            raise _Cannot(
                f"the scores of {run.arm} under seed {run.seed} cannot be read: {str(error).splitlines()[0]}"
            ) from error
        if found is None:
            return None
        value = run.value
        if value is None or not math.isclose(found.mean, value, rel_tol=1e-4, abs_tol=1e-9):
            said = "nothing" if value is None else f"{value:.6g}"
            raise _Cannot(
                f"the scores of {run.arm} under seed {run.seed} have the mean {found.mean:.6g}, where it "
                f"reported {said}: they have to be those that the metric is the mean of"
            )
        self._room -= len(found.values)
        if self._room < 0:
            raise _Cannot(f"there are more than {MOST_VALUES:,} scores in all")
        alike = (one for one in self._read.values() if one is not None and _same(one, found))
        one = next(alike, None)
        return found if one is None else Scores(one.ids, found.values)  # ids are held once


def _of(
    evaluation: ReportedEvaluation,
    weights: Mapping[str, Mapping[str, float]],
    kept: _Kept,
) -> tuple[dict[str, NewData], list[str]]:
    found: dict[str, NewData] = {}
    why: dict[str, list[str]] = {}
    tested = [effect for effect in evaluation.all_effects if effect.lo is not None and effect.arm in weights]
    if not tested or kept.none:
        return {}, []
    for effect in tested:
        try:
            variance = sample_variance(_differences(effect, weights[effect.arm], kept))
            interval = None if variance is None else for_new_data(effect, variance)
        except _Cannot as reason:
            why.setdefault(str(reason), []).append(effect.arm)
            continue
        if interval is not None:
            found[effect.arm] = interval
    return found, [_note(reason, arms, len(tested)) for reason, arms in why.items()]


def _note(reason: str, arms: list[str], tested: int) -> str:
    whose = "" if len(arms) == tested else f" of {', '.join(arms)}"
    return (
        f"New data: {reason}."
        if reason.endswith(_OWN_SPLIT)
        else (f"No interval for new data{whose}: {reason}.")
    )


def _differences(effect: Effect, weights: Mapping[str, float], kept: _Kept) -> Iterator[NDArray[np.float64]]:
    """Yield the paired differences of the samples, one seed at a time; raises `_Cannot`."""
    first: tuple[int, Scores] | None = None
    for seed in effect.seeds:
        of_arms = {arm: kept.of(arm, seed) for arm in weights}
        (arm, one), *others = of_arms.items()
        for name, other in others:
            if not _same(one, other):
                raise _Cannot(
                    f"{arm} and {name} were scored on other samples under seed {seed} ({_common(one, other)})"
                )
        first = first or (seed, one)
        if not _same(first[1], one):
            share = _count(first[1], one) / min(len(first[1].ids), len(one.ids))
            common = f"seeds {first[0]} and {seed} have {_common(first[1], one)}"
            if share > _ALIKE:
                raise _Cannot(f"{common}, and need the same in all")
            raise _Cannot(f"{common}: {_OWN_SPLIT}")
        yield sum((weight * of_arms[name].values for name, weight in weights.items()), np.zeros(len(one.ids)))


def _same(one: Scores, other: Scores) -> bool:
    if one.ids is other.ids:
        return True
    return one.ids.dtype.kind == other.ids.dtype.kind and np.array_equal(one.ids, other.ids)


def _count(one: Scores, other: Scores) -> int:
    if one.ids.dtype.kind != other.ids.dtype.kind:
        return 0
    return len(np.intersect1d(one.ids, other.ids, assume_unique=True))


def _common(one: Scores, other: Scores) -> str:
    return f"{_count(one, other):,} of {len(one.ids):,} and {len(other.ids):,} samples in common"
