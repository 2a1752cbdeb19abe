"""Two comparisons side by side: two studies, or one study's effects with fixed and with retuned settings."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.reporting.model import Comparison, Difference, ReportedEvaluation, StudyReport
from orchestrator.stats.between import gap
from orchestrator.stats.results import Effect


def compare(first: StudyReport, second: StudyReport) -> Comparison:
    """Return the effects of two studies, by name: those of a phase that both have, else of each its first.

    A study against itself is its fixed against its retuned settings.
    """
    if first.location == second.location and len(first.evaluations) > 1:
        retuned, fixed = first.evaluations
        found = differences(first, fixed, first, retuned)
        return Comparison(first, second, fixed, retuned, found, ())
    ours, theirs = evaluations_beside((first, second))
    return Comparison(
        first, second, ours, theirs, differences(first, ours, second, theirs), _notes(first, second)
    )


def evaluations_beside(reports: Sequence[StudyReport]) -> tuple[ReportedEvaluation, ...]:
    """Return an evaluation of each study: those of a phase that all have, else of each its first."""
    phases = [{evaluation.phase for evaluation in report.evaluations} for report in reports]
    common = set.intersection(*phases)
    phase = next((e.phase for e in reports[0].evaluations if e.phase in common), None)
    return tuple(next((e for e in one.evaluations if e.phase == phase), one.first) for one in reports)


def same_measure(first: StudyReport, second: StudyReport) -> bool:
    """Whether effects of both are differences of the same metric, in the same direction."""
    return (first.metric, first.mode) == (second.metric, second.mode)


def differences(
    first: StudyReport,
    ours: ReportedEvaluation,
    second: StudyReport,
    theirs: ReportedEvaluation,
    *,
    together: bool = False,
) -> tuple[Difference, ...]:
    """One row per effect of either evaluation, in the first one's order, then what only the second has.

    `together`: the intervals hold together, all at once (Bonferroni).
    """
    left = {effect.arm: effect for effect in ours.all_effects}
    right = {effect.arm: effect for effect in theirs.all_effects}
    rows = []
    both = len(left.keys() & right.keys()) if together else 1
    for arm in dict.fromkeys([*left, *right]):
        a, b = left.get(arm), right.get(arm)
        found = None
        if a is not None and b is not None and same_measure(first, second):
            alpha = max(first.alpha, second.alpha)
            found = gap(a, b, alpha / both, by_seed(first, ours, a), by_seed(second, theirs, b))
        rows.append(Difference(arm, a, b, found))
    return tuple(rows)


def pairs(
    report: StudyReport, evaluation: ReportedEvaluation, effect: Effect
) -> dict[int, tuple[float, float]]:
    """Seed -> (value of the reference, value of the arm), for the seeds that entered an effect.

    Empty where the effect is not the difference of two arms (interactions, factorial designs).
    """
    arm, reference = report.arm(effect.arm), report.arm(effect.reference)
    if arm is None or reference is None or effect.kind != "main" or report.averaged:
        return {}
    before, after = (
        {run.seed: run.value for run in of.of(evaluation.phase) if run.used and run.value is not None}
        for of in (reference, arm)
    )
    return {seed: (before[seed], after[seed]) for seed in effect.seeds if seed in before and seed in after}


def by_seed(report: StudyReport, evaluation: ReportedEvaluation, effect: Effect) -> dict[int, float]:
    """Return the D of an effect, seed -> arm − reference; empty where `pairs` is."""
    return {seed: after - before for seed, (before, after) in pairs(report, evaluation, effect).items()}


def _notes(first: StudyReport, second: StudyReport) -> tuple[str, ...]:
    """Return what differs between the studies besides the results."""
    notes = []
    for what, a, b in (
        ("metric", first.metric, second.metric),
        ("mode", first.mode, second.mode),
        ("full length", f"{first.max_length:g} {first.unit}", f"{second.max_length:g} {second.unit}"),
        ("rule", first.rule, second.rule),
        ("commit", first.provenance.commit, second.provenance.commit),
        ("seeds", first.seeds, second.seeds),
        ("reference", first.reference.arm, second.reference.arm),
    ):
        if a != b:
            notes.append(f"{what}: {a} against {b}")
    if not same_measure(first, second):
        notes.append("The metrics differ: effects stand side by side, their differences mean nothing.")
    return tuple(notes)
