"""What a reviewer asks of a table of effects, answered beside it: what is covered, leans, is assumed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import lcm

from orchestrator.decide.inflation import inflation
from orchestrator.decide.resolve import ResolveRule
from orchestrator.reporting import numbers
from orchestrator.reporting.model import ReportedEvaluation, StudyReport
from orchestrator.reporting.words import count
from orchestrator.stats.descriptions import rank_correlation
from orchestrator.stats.results import DETERMINISTIC, EQUIVALENT, RESOLVED, Sample

_MOST_NAMED = 5
_FEWEST_ARMS = 5
_ROUNDING = 1e-12
_MOST_COUNTED = 100_000
_SIZES = (1.0, 2.0, 4.0)
_USUAL_RHO = 0.3
_COVERED = (
    "Intervals are for new seeds: they cover what a seed changes in a run (initialisation, order, "
    "augmentation, and the split where every seed has its own). Data that all seeds share, the budget and "
    "the settings are taken as given."
)


def caveats(report: StudyReport, rule: ResolveRule | None = None) -> tuple[str, ...]:
    """Return them as sentences, those that concern this report; `rule`: the sequential one in use."""
    lines = [line for one in report.evaluations for line in (*_coarse(report, one), *_by_level(one))]
    tested = any(effect.p is not None for one in report.evaluations for effect in one.all_effects)
    leaning = () if rule is None else (*_leaning(report, rule), *_chosen(report, rule))
    return (*([_COVERED] if tested else []), *leaning, *dict.fromkeys(lines))


def _chosen(report: StudyReport, rule: ResolveRule) -> Iterator[str]:
    """Say what it does to intervals that only arms whose first seed stood out have one."""
    shown = [effect for effect in report.first.effects if effect.lo is not None]
    if rule.screen is None or not shown or len(shown) == len(report.first.effects):
        return
    as_judged = "; that of an arm without a claim has the level of its test, and so holds 0"
    yield (
        "Arms went on because their first seed stood out, so that fewer of their intervals hold the truth "
        f"than they say where {report.reference.arm} is noisier than the arms"
        f"{as_judged if rule.screen.as_judged else ''}."
    )


def _leaning(report: StudyReport, rule: ResolveRule) -> Iterator[str]:
    """Say how large early-stopped effects look, by their true size."""
    claimed = [effect for effect in report.first.effects if effect.verdict in RESOLVED - {EQUIVALENT}]
    if not any(effect.early for effect in claimed):
        return
    rho = report.first.pairing.rho
    rho = _USUAL_RHO if rho is None else round(min(0.9, max(0.0, rho)), 1)
    arms = len(report.first.effects)
    factors = {size: inflation(rule, arms, arms - len(claimed) + 1, size, rho) for size in _SIZES}
    told = [
        f"at {numbers.quantity(size, 'SD')} {factor:.2f} times" for size, factor in factors.items() if factor
    ]
    if told:
        looks = ", ".join(map(str, rule.looks))
        yield (
            "Early-stopped effects lean large, since chance has helped them to the stop: by the true size, "
            f"in SDs between seeds, they are shown on average {', '.join(told)} as large "
            f"(simulated for looks after {looks} seeds)."
        )


def _coarse(report: StudyReport, evaluation: ReportedEvaluation) -> Iterator[str]:
    """Name the arms whose every run has the same value: a spread of 0 is no precision."""
    if any(effect.verdict == DETERMINISTIC for effect in evaluation.effects):
        return
    same = [one for one in evaluation.samples.values() if one.n > 1 and _is_flat(one)]
    if not same:
        return
    steps = _steps(report, evaluation)
    named = []
    for one in same[:_MOST_NAMED]:
        hits = None if steps is None or one.mean is None else round(one.mean * steps)
        counted = "" if hits is None else f", {hits} of {steps}"
        named.append(f"{one.n} of {one.n} runs of {one.arm} ({report.scale.value(one.mean)}{counted})")
    more = f" and all runs of {count(len(same) - _MOST_NAMED, 'more arm')}" if len(same) > _MOST_NAMED else ""
    yield (
        f"The same {report.metric}: {'; '.join(named)}{more}. An SD of 0 says that the metric is coarse, "
        "not that seeds make no difference."
    )


def _is_flat(sample: Sample) -> bool:
    """Whether all values are one, up to the rounding of their mean."""
    return sample.sd is not None and sample.sd <= _ROUNDING * abs(sample.mean or 0.0)


def _steps(report: StudyReport, evaluation: ReportedEvaluation) -> int | None:
    """Return the number of samples that all values are shares of; None where there is no such number."""
    runs = [run for arm in report.all_arms for run in arm.of(evaluation.phase) if run.used]
    values = [run.value for run in runs if run.value is not None]
    if report.scale.factor != 100 or not all(0 <= value <= 1 for value in values):
        return None
    shares = [Fraction(value).limit_denominator(_MOST_COUNTED) for value in values]
    if any(abs(float(share) - value) > 1e-12 for share, value in zip(shares, values, strict=True)):
        return None
    steps = lcm(*(share.denominator for share in shares))
    return steps if 1 < steps <= _MOST_COUNTED else None


def _by_level(evaluation: ReportedEvaluation) -> Iterator[str]:
    """Say where the noise grows with the loss: one pool of variances is then wrong for the worst arms."""
    known = [
        (abs(effect.delta), effect.sd)
        for effect in evaluation.effects
        if effect.delta is not None and effect.sd is not None and effect.p is not None
    ]
    found = rank_correlation(*zip(*known, strict=True)) if len(known) >= _FEWEST_ARMS else None
    if found is None:
        return
    rho, p = found
    if rho > 0 and p <= 0.05:
        yield (
            f"The larger an effect, the more it varies between seeds (rank correlation {rho:.2f} over "
            f"{count(len(known), 'arm')}, p {numbers.equals(p)}): one pool of variances makes the largest "
            "look more certain than they are, and their intervals may be too narrow. `variance: per_arm` "
            "judges every arm by its own spread."
        )
