"""A finished study under other rules: what each would have run, what it would have cost, what it would have
said.

Nothing is resampled or filled in: a rule that asks for a run that nobody has made is followed until there,
and the runs it lacks are listed. Main effects only; an interaction is judged from all runs under every rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.decide.effects import sequential_effects
from orchestrator.decide.evaluation import Evaluation, evaluations, final_value, table
from orchestrator.decide.resolve import ResolveRule, resolve
from orchestrator.decide.rungs import RungRule, highest_rung
from orchestrator.decide.scoring import Scoring
from orchestrator.decide.scoring import number as a_number
from orchestrator.decide.sequential import RESOLVE
from orchestrator.decide.states import TrialState
from orchestrator.decide.stopping import StoppingRule, Variant, rule_of, stopping_rule
from orchestrator.errors import Fault, StudyError
from orchestrator.record.state import StudyState, TrialRecord
from orchestrator.simulate.asha import Ending, Point, SimulatedCurve, matched, replay
from orchestrator.simulate.methods import declared
from orchestrator.stats.moderated import estimate
from orchestrator.stats.results import HELPS, HURTS, NO_DATA, SCREENED, UNRESOLVED, Mode
from orchestrator.study.designs import Contrast
from orchestrator.study.registered import RULES, design_of
from orchestrator.study.spec import StoppingSpec, StudySpec

Rows = Callable[[TrialRecord], list[dict[str, Any]]]
Run = tuple[str, int]
"""Arm and seed."""
Place = tuple[int, int]
"""Their positions in an evaluation: arm, seed."""


@dataclass(frozen=True)
class RecordedVerdict:
    """What a rule says about an arm, from `n` pairs; Δ and its interval in the user's units.

    `rung`: where the arms were compared (None: at full length; the verdict claims nothing below it).
    `verdict` is None where the record does not suffice.
    """

    arm: str
    verdict: str | None
    n: int
    delta: float | None
    lo: float | None
    hi: float | None
    rung: float | None = None


@dataclass(frozen=True)
class Replay:
    """One rule on one evaluation of the study. `length` is trained length in the study's unit.

    `missing`: runs that the rule asks for and that were never made, in its order; with any of them the rule
    could not be followed to its end, and `runs` and `length` are what it had spent until there.
    """

    rule: str
    phase: str
    family: int
    said: tuple[RecordedVerdict, ...]
    runs: int
    length: float
    grid_runs: int
    grid_length: float
    missing: tuple[Run, ...]

    @property
    def title(self) -> str:
        """The rule and what was changed of it, in words."""
        return variants()[self.rule][1].title

    @property
    def follows(self) -> StoppingRule:
        """The rule, without what was changed of it."""
        return stopping_rule(variants()[self.rule][0])

    @property
    def finished(self) -> bool:
        """Every run that the rule asks for is on record."""
        return not self.missing


def agreement(one: Replay, grid: Replay) -> dict[str, int]:
    """How far a rule says what the whole grid says.

    `arms` on which both have a verdict: how many with the `same` one, and how many with `opposite` ones.
    """
    pairs_said = zip(one.said, grid.said, strict=True)
    # an arm that was screened out is an open one
    said = [tuple(UNRESOLVED if v == SCREENED else v for v in (a.verdict, b.verdict)) for a, b in pairs_said]
    pairs = [pair for pair in said if None not in pair]
    same, opposite = sum(a == b for a, b in pairs), sum(set(pair) == {HURTS, HELPS} for pair in pairs)
    return {"arms": len(pairs), "same": same, "opposite": opposite}


def variants() -> dict[str, tuple[str, Variant]]:
    """Name every rule as registered, then with other settings: each with the rule and what is changed."""
    rules = {name: stopping_rule(name) for name in default_rules()}
    found = {name: (name, Variant(rule.title)) for name, rule in rules.items()}
    for name, rule in rules.items():
        found |= {key: (name, variant) for key, variant in rule.variants().items()}
    return found


def default_rules() -> tuple[str, ...]:
    """Name every rule as registered, first those that claim something at full length."""
    return tuple(sorted(RULES, key=lambda name: RULES.get(name).tier != "full-length"))


def replays(
    spec: StudySpec, history: StudyState, rules: Iterable[str], rows: Rows, lanes: int = 1
) -> tuple[Replay, ...]:
    """Every rule on every evaluation (phase and Holm family) of the study.

    Args:
        rows: the reports of a run, as in its `metrics.parquet`; only asked by rules that stop at rungs.
        lanes: trials at the same time, which decides who competes with whom under such a rule.

    Raises:
        StudyError: an unknown rule, or a study whose effects are no comparisons with one reference.
    """
    known, rules = variants(), tuple(rules)
    faults = [
        Fault("no rule has this name", field="--rule", value=rule, hint=f"valid: {', '.join(known)}")
        for rule in rules
        if rule not in known
    ]
    if not design_of(spec).compares:
        hint = "its effects are no comparisons of one arm with the reference: no rule but none applies"
        faults.append(Fault(f"a {spec.design} design cannot be replayed", hint=hint))
    elif arms := [arm for arm in history.plan.arms if not arm.parts]:
        faults += [fault for rule in rules if rule in known for fault in _too_few(spec, rule, len(arms) - 1)]
    if len(spec.seeds) < 2:
        faults.append(Fault("a study with one seed has no tests to replay", field="seeds"))
    if faults:
        raise StudyError(faults)
    found = []
    for rule in rules:
        name, variant = known[rule]
        under = _under(spec, name, variant)
        for evaluation in evaluations(under, history.plan, history.families):
            if stopping_rule(name).stops_at_rungs:
                one = _halving(under, evaluation, history, rows, lanes)
            else:
                one = _sequential(under, evaluation, history)
            found.append(replace(one, rule=rule))
    return tuple(found)


def _too_few(spec: StudySpec, rule: str, arms: int) -> Iterator[Fault]:
    """Find that a goal needs more arms than the study has."""
    under = _under(spec, *variants()[rule])
    goal = rule_of(under).goal(under)
    if goal is not None and arms < goal.fewest_arms:
        message = f"needs at least {goal.fewest_arms} arms beside the reference, this study has {arms}"
        yield Fault(message, field="--rule", value=rule, hint="use --rule save")


def _under(spec: StudySpec, rule: str, variant: Variant) -> StudySpec:
    """Return the study file with another rule in it, whose own settings are at their defaults."""
    settings = RULES.get(rule).settings or StoppingSpec
    stopping = {**spec.stopping.model_dump(), "rule": rule, **variant.stopping}
    if rule != spec.stopping.rule or variant.stopping or variant.report:
        stopping["version"] = "auto"  # a new study's
    kept = {key: value for key, value in stopping.items() if key in settings.model_fields}
    changed = {
        "stopping": settings.model_validate(kept),
        "report": spec.report.model_copy(update=dict(variant.report)),
    }
    return spec.model_copy(update=changed)


def _one_look(spec: StudySpec, arms: int) -> ResolveRule:
    """Take the grid as a rule with one look, after all seeds, and the test that it has."""
    seeds = len(spec.seeds)
    one = replace(RESOLVE.on_seeds(spec, arms), looks=(seeds,), seeds=seeds, futility=0.0, goal="save")
    return replace(one, base=0, pooling=rule_of(spec).pooling(spec), screen=None)


def _sequential(spec: StudySpec, evaluation: Evaluation, history: StudyState) -> Replay:
    reference, *arms = evaluation.arms
    registered = rule_of(spec).on_seeds(spec, len(arms)) or _one_look(spec, len(arms))
    results = table(evaluation, history.cells)
    ended = results.ended.copy()
    for row, column in np.argwhere(results.ended).tolist():  # a run that a rule has stopped was never made
        ended[row, column] = _record(evaluation, history, (row, column)).state is not TrialState.STOPPED
    mode = spec.metric.claimed_mode
    sign = _sign(mode)
    course = resolve(registered, sign * results.values, ended, sign * results.curves)
    values = {
        arm: dict(zip(evaluation.seeds, results.values[row].tolist(), strict=True))
        for row, arm in enumerate(evaluation.arms)
    }
    contrasts = [Contrast(arm, "main", (arm,), {arm: 1.0, reference: -1.0}, reference) for arm in arms]
    effects = sequential_effects(course, registered, contrasts, values, evaluation.seeds, mode)
    said = tuple(
        RecordedVerdict(effect.arm, effect.verdict, effect.n, effect.delta, effect.lo, effect.hi)
        if row in course.final
        else RecordedVerdict(effect.arm, None, 0, None, None, None)
        for row, effect in enumerate(effects, start=1)
    )
    spent = [place for place in sorted(course.needed) if ended[place]]
    lengths = [_record(evaluation, history, place).length or 0.0 for place in spent]
    return _result(spec, evaluation, said, lengths, course.wanted)


def _sign(mode: Mode) -> float:
    return 1.0 if mode == "max" else -1.0


def _record(evaluation: Evaluation, history: StudyState, place: Place) -> TrialRecord:
    row, column = place
    return history.cells[evaluation.cells[evaluation.arms[row], evaluation.seeds[column]]]


def _halving(spec: StudySpec, evaluation: Evaluation, history: StudyState, rows: Rows, lanes: int) -> Replay:
    """Follow a rule at rungs; then a plain paired t at each arm's matched rung, with Holm."""
    rule = rule_of(spec).at_rungs(spec.stopping, spec.stopping.max)
    ended = table(evaluation, history.cells).ended
    places = [(row, column) for column in range(len(spec.seeds)) for row in range(len(evaluation.arms))]
    made = {place: _record(evaluation, history, place) for place in places if ended[place]}
    curves = [
        curve(spec, record, rows(record), rule.rungs, protected=record.arm == evaluation.arms[0])
        for record in made.values()
    ]
    endings = dict(zip(made, replay(curves, rule, lanes), strict=True))
    seen = [(place, made[place], run, endings[place]) for place, run in zip(made, curves, strict=True)]
    scores, last = _seen(spec, evaluation, rule, seen)
    said = _compared(*matched(scores, last), evaluation, spec, rule)
    missing = [place for place in places if not ended[place]]
    missing += [
        place
        for place, ending in endings.items()
        if ending.state is TrialState.DONE and made[place].state is TrialState.STOPPED
    ]
    return _result(spec, evaluation, said, [ending.length for ending in endings.values()], missing)


def curve(
    spec: StudySpec,
    record: TrialRecord,
    rows: Sequence[Mapping[str, Any]],
    ladder: Sequence[float],
    *,
    protected: bool,
) -> SimulatedCurve:
    """Return the run of `record` as `asha` would have seen it, from the rows of its `metrics.parquet`."""
    times = [time for row in rows if (time := a_number(row.get("time_s"))) is not None]
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
    none, and the score is oriented.
    """
    key = "time_s" if spec.stopping.unit == "seconds" else spec.stopping.unit
    scoring = Scoring(spec.metric)
    found: list[Point] = []
    for row in rows:
        value, length = a_number(row.get(spec.metric.name)), a_number(row.get(key))
        if value is None or length is None:
            continue
        scoring.take(row)
        rung = highest_rung(ladder, length, above=found[-1].rung if found else None)
        if rung is None or length >= spec.stopping.max:
            continue
        assert scoring.value is not None, "a report with the metric was taken"
        time, score = a_number(row.get("time_s")), _sign(spec.metric.mode) * scoring.value
        found.append(Point(rung, length, length if time is None else time, score))
    return tuple(found)


def _selected(spec: StudySpec, record: TrialRecord) -> float | None:
    """Return the final value by the metric that selects, which is what a rule at rungs compares."""
    value = final_value(record)
    return value if value is None or spec.metric.test is None else record.beside.get(spec.metric.name)


def _seen(
    spec: StudySpec,
    evaluation: Evaluation,
    rule: RungRule,
    runs: Iterable[tuple[Place, TrialRecord, SimulatedCurve, Ending]],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return what the rule lets be seen: oriented scores (arms, seeds, rungs and end), each run's last."""
    shape = len(evaluation.arms), len(spec.seeds)
    scores = np.full((*shape, len(rule.rungs) + 1), np.nan)
    last = np.full(shape, -1, dtype=np.intp)
    index = {rung: number for number, rung in enumerate(rule.rungs)}
    for place, record, seen, ending in runs:
        for point in seen.points[: ending.reports]:
            last[place] = index[point.rung]
            scores[(*place, last[place])] = point.score
        value = _selected(spec, record)
        if ending.state is TrialState.DONE and value is not None:
            last[place] = len(rule.rungs)
            scores[(*place, last[place])] = _sign(spec.metric.mode) * value
    return scores, last


def _compared(
    D: NDArray[np.float64],  # noqa: N803 - the notation of the field
    rungs: NDArray[np.intp],
    evaluation: Evaluation,
    spec: StudySpec,
    rule: RungRule,
) -> tuple[RecordedVerdict, ...]:
    tests = estimate(D, np.eye(len(D)), "per_arm")
    signs, _ = declared(tests, spec.report.alpha, None)
    half = tests.half_width(spec.report.alpha)
    said = []
    for number, arm in enumerate(evaluation.arms[1:]):
        if not tests.testable[number]:
            said.append(RecordedVerdict(arm, NO_DATA, int(tests.n[number]), None, None, None))
            continue
        mean, width = _sign(spec.metric.mode) * float(tests.mean[number]), float(half[number])
        verdict = {0: UNRESOLVED, 1: HELPS, -1: HURTS}[int(signs[number])]
        rung = rule.rungs[rungs[number]] if rungs[number] < len(rule.rungs) else None
        said.append(
            RecordedVerdict(arm, verdict, int(tests.n[number]), mean, mean - width, mean + width, rung)
        )
    return tuple(said)


def _result(
    spec: StudySpec,
    evaluation: Evaluation,
    said: tuple[RecordedVerdict, ...],
    lengths: Sequence[float],
    missing: Iterable[Place],
) -> Replay:
    grid = len(evaluation.arms) * len(spec.seeds)
    return Replay(
        rule=spec.stopping.rule,
        phase=evaluation.phase,
        family=evaluation.family,
        said=said,
        runs=len(lengths),
        length=math.fsum(lengths),
        grid_runs=grid,
        grid_length=grid * float(spec.stopping.max),
        missing=tuple((evaluation.arms[row], evaluation.seeds[column]) for row, column in missing),
    )
