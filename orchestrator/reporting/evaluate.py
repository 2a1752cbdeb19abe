"""One comparison of the arms: the runs of one phase, and what the statistics say about them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.decide.agenda import Judged, in_words
from orchestrator.decide.effects import NOT_FINISHED, seeds_seen, sequential_effects
from orchestrator.decide.evaluation import final_value, is_outcome
from orchestrator.decide.resolve import ResolveRule
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import rule_of
from orchestrator.record.shared import DOUBTFUL_FLAG, shared_files
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.reporting.devices import MIXED, mixed_seeds
from orchestrator.reporting.model import ReportedEvaluation, ReportedLook
from orchestrator.stats.fixed import fixed_effects, summarise
from orchestrator.stats.pairing import pairing
from orchestrator.stats.results import DETERMINISTIC, NO_DATA, RUNG_ONLY, Effect, Mode, Sample
from orchestrator.study.cells import Plan
from orchestrator.study.designs import Contrast
from orchestrator.study.registered import design_of
from orchestrator.study.spec import MetricSpec, Phase, StudySpec

Values = Mapping[str, Mapping[int, float]]
"""Arm -> seed -> value of a run that reached full length."""
Records = Mapping[str, Sequence[TrialRecord]]
Families = tuple[tuple[str, ...], ...]


def evaluate(
    phase: Phase,
    spec: StudySpec,
    plan: Plan,
    history: StudyState,
    judged: Sequence[Judged],
    used: frozenset[str],
) -> ReportedEvaluation:
    """Return what the runs of `phase` say, as far as they got.

    Args:
        judged: the courses of the sequential rule, of all phases; empty under the other rules.
        used: the cells whose value is in an effect.
    """
    records: dict[str, list[TrialRecord]] = {arm.name: [] for arm in plan.arms}
    for cell in plan.cells:
        if cell.phase == phase:
            records[cell.arm].append(history.cells[cell.cell])
    mine = [one for one in judged if one.evaluation.phase == phase]
    found = design_of(spec).contrasts(spec, plan.arms)
    main = [contrast for contrast in found if contrast.kind == "main"]
    joint = [contrast for contrast in found if contrast.kind == "interaction" and phase == "fixed"]
    families = _families(spec, main, history)
    judgements = [
        *_main(spec, plan.reference, records, families, main, mine),
        *_interactions(spec, records, joint),
    ]
    mixed = {
        effect.arm: mixed_seeds(contrast.weights, effect.seeds, records)
        for effect, contrast in zip(judgements, (*main, *joint), strict=True)
    }
    effects = [
        _described(effect, records.get(effect.arm, []), len(mixed[effect.arm])) for effect in judgements
    ]
    counted = {arm: [record for record in rows if record.cell in used] for arm, rows in records.items()}
    seen = {arm: _values(rows) for arm, rows in counted.items()}
    doubtful = _doubtful_arms(history)
    effects = [
        replace(effect, flags=(*effect.flags, DOUBTFUL_FLAG))
        if doubtful & contrast.weights.keys()
        else effect
        for effect, contrast in zip(effects, (*main, *joint), strict=True)
    ]
    others = {arm: by_seed for arm, by_seed in seen.items() if arm != plan.reference}
    return ReportedEvaluation(
        phase=phase,
        samples={arm: summarise(arm, seen[arm]) for arm in (plan.reference, *others)},
        effects=tuple(effect for effect in effects if effect.kind == "main"),
        interactions=tuple(effect for effect in effects if effect.kind == "interaction"),
        families=families,
        pairing=pairing(seen[plan.reference], others),
        decisions=tuple(_looks(spec, mine)),
        mixed={arm: by_seed for arm, by_seed in mixed.items() if by_seed},
        beside=beside(
            spec.metric,
            {arm: {record.seed: record.beside for record in rows} for arm, rows in counted.items()},
        ),
    )


def beside(
    metric: MetricSpec, values: Mapping[str, Mapping[int, Mapping[str, float]]]
) -> dict[str, dict[str, Sample]]:
    """Describe the other metrics, in their columns; `values`: arm -> seed -> name -> value that counts.

    A metric that no run has is no column.
    """
    selected = [] if metric.test is None else [metric.name]
    found: dict[str, dict[str, Sample]] = {}
    for name in dict.fromkeys((*selected, *metric.also)):
        named = {
            arm: {seed: row[name] for seed, row in by_seed.items() if name in row}
            for arm, by_seed in values.items()
        }
        found[name] = {arm: summarise(arm, by_seed) for arm, by_seed in named.items()}
    return {name: samples for name, samples in found.items() if any(one.n for one in samples.values())}


def _doubtful_arms(history: StudyState) -> set[str]:
    """Return the arms with a trial that has changed a file that others share."""
    return {trial.arm for file in shared_files(history.cells.values()) for trial in file.trials}


def _values(records: Iterable[TrialRecord]) -> dict[int, float]:
    valued = ((record.seed, final_value(record)) for record in records)
    return {seed: value for seed, value in valued if value is not None}


def _families(spec: StudySpec, main: Sequence[Contrast], history: StudyState) -> Families:
    """Return the main effects by Holm family: those of the first plan, then each `--extend`."""
    names = [contrast.name for contrast in main]
    if design_of(spec).crossed:
        return (tuple(names),)
    numbers = sorted({history.families.get(name, 0) for name in names})
    return tuple(
        tuple(name for name in names if history.families.get(name, 0) == number) for number in numbers
    )


def _main(
    spec: StudySpec,
    reference: str,
    records: Records,
    families: Families,
    main: Sequence[Contrast],
    judged: Sequence[Judged],
) -> list[Effect]:
    """Judge the main effects, in the plan's order. Arms added later are corrected among themselves."""
    courses = {one.evaluation.arms: one for one in judged}
    effects: dict[str, Effect] = {}
    for family in families:
        members = [contrast for contrast in main if contrast.name in family]
        course = courses.get((reference, *family))
        rule = rule_of(spec).on_seeds(spec, len(members))
        found: Sequence[Effect]
        if course is None or rule is None:
            found = _fixed(spec, members, records)
        else:
            found = _sequential(rule, spec.metric.claimed_mode, course, members, records)
        effects |= {effect.arm: effect for effect in found}
    return [effects[contrast.name] for contrast in main]


def _interactions(spec: StudySpec, records: Records, joint: Sequence[Contrast]) -> list[Effect]:
    """Judge the interactions: once, from all registered seeds, and from no other."""
    registered = {arm: _within(rows, spec.seeds) for arm, rows in records.items()}
    return _fixed(spec, joint, registered) if joint else []


def _sequential(
    rule: ResolveRule, mode: Mode, judged: Judged, members: Sequence[Contrast], records: Records
) -> tuple[Effect, ...]:
    seeds = judged.evaluation.seeds
    values = {arm: _values(rows) for arm, rows in records.items()}
    numbers = seeds_seen(judged.course, rule, members)
    failures = {arm: _tally(_within(records[arm], seeds[:number])) for arm, number in numbers.items()}
    return sequential_effects(judged.course, rule, members, values, seeds, mode, failures=failures)


def _within(records: Sequence[TrialRecord], seeds: Sequence[int]) -> list[TrialRecord]:
    return [record for record in records if record.seed in set(seeds)]


def _fixed(spec: StudySpec, members: Sequence[Contrast], records: Records) -> list[Effect]:
    """From all seeds there are; flagged while some of the runs are still to come, as under `resolve`."""
    values = {arm: _values(rows) for arm, rows in records.items()}
    no_claim = RUNG_ONLY if rule_of(spec).tier == RUNG_ONLY else _deterministic(spec, values)
    found = fixed_effects(
        values,
        members,
        spec.metric.claimed_mode,
        alpha=spec.report.alpha,
        margin=spec.report.margin,
        variance=spec.report.variance,
        pooling=rule_of(spec).pooling(spec),
        failures={arm: _tally(rows) for arm, rows in records.items()},
        no_claim=no_claim,
    )
    open_ = {arm for arm, rows in records.items() if not all(map(is_outcome, rows))}
    return [
        replace(effect, flags=(*effect.flags, NOT_FINISHED))
        if effect.n and open_ & contrast.weights.keys()
        else effect
        for effect, contrast in zip(found, members, strict=True)
    ]


def _tally(records: Sequence[TrialRecord]) -> tuple[int, int]:
    """Run that failed or diverged, and all that were needed."""
    failed = sum(record.state in (TrialState.FAILED, TrialState.DIVERGED) for record in records)
    return failed, sum(record.state is not TrialState.SKIPPED for record in records)


def _deterministic(spec: StudySpec, values: Values) -> str | None:
    """Seeds that change nothing are no sample: then there is nothing to build an interval from."""
    same = all(len(set(by_seed.values())) <= 1 for by_seed in values.values())
    repeated = any(len(by_seed) > 1 for by_seed in values.values())
    return DETERMINISTIC if spec.deterministic and same and repeated else None


def _described(effect: Effect, records: Sequence[TrialRecord], mixed: int) -> Effect:
    """Flag what only the records know: runs that a rule has stopped, seeds with runs on different GPUs."""
    if mixed:
        effect = replace(effect, flags=(*effect.flags, f"{mixed} {MIXED}"))
    stopped = sum(record.state is TrialState.STOPPED for record in records)
    if not stopped:
        return effect
    flags = [flag for flag in effect.flags if flag != "conditional"] + [f"{stopped} stopped"]
    flags += ["conditional"] if effect.n else []
    verdict = RUNG_ONLY if effect.verdict == NO_DATA else effect.verdict
    return replace(effect, flags=tuple(flags), verdict=verdict)


def _looks(spec: StudySpec, judged: Sequence[Judged]) -> Iterator[ReportedLook]:
    """Yield the looks in the order in which they were taken, in the user's units."""
    sign = 1 if spec.metric.claimed_mode == "max" else -1
    for one in judged:
        for look in one.course.looks:
            ends = (look.lo, look.hi)[::sign]
            delta, lo, hi = (_turned(value, sign) for value in (look.mean, *ends))
            kept = (look.p, look.level, look.power, in_words(look))
            yield ReportedLook(one.arm(look), look.number, look.n, delta, lo, hi, *kept)


def _turned(value: float | None, sign: int) -> float | None:
    return None if value is None or not math.isfinite(value) else sign * value + 0.0
